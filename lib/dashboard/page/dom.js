/** Sets the text of an element if it has changed. */
export function setText(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Creates an element with attributes and content. Text never becomes markup. */
export function create(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

/** Text from the database, isolated so that right-to-left text cannot reorder the text beside it. */
export const idOf = (text) => create("bdi", { class: "id" }, text);

/** The address of the page about a task or a group, or of a search. */
export const addressOf = (kind, id) => `#${new URLSearchParams({ [kind]: id })}`;

export const linkTo = (kind, id) => create("a", { href: addressOf(kind, id) }, idOf(id));

export function formatNumber(number) {
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

export function formatMs(ms) {
  return ms === null ? "–" : `${ms.toLocaleString("en", { maximumSignificantDigits: ms < 100 ? 2 : 3 })} ms`;
}

export function formatBytes(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  return `${formatNumber(bytes / 1000 ** power)} ${units[power]}`;
}

/** A length of time in its largest unit. */
export function formatAge(ms) {
  const seconds = Math.max(0, ms / 1_000);
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 100 * 60) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3_600) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** A time of today, or a date and a time. */
export function timeOf(ms) {
  const date = new Date(ms);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString("en-GB");
  return create(
    "time",
    { datetime: date.toISOString() },
    isToday ? time : `${date.toLocaleDateString("en-CA")} ${time}`,
  );
}

const badStates = ["failed"];
const goodStates = ["succeeded", "completed", "done"];

/** The name of a state, in its colour. */
export function stateOf(state) {
  const tone = badStates.includes(state) ? "bad" : goodStates.includes(state) ? "good" : "";
  return create("span", { class: tone }, state);
}
