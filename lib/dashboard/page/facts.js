import { create } from "./dom.js";

/** A list of names and values. Values that are undefined are left out. */
export function factsOf(facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  return create(
    "dl",
    { class: "facts" },
    ...known.flatMap(([name, value]) => [create("dt", {}, name), create("dd", {}, value)]),
  );
}

/** Shows a value only if it has changed, so that a selection survives. */
export function replaceIfChanged(element, ...content) {
  const next = create("div", {}, ...content);
  if (element.innerHTML !== next.innerHTML) element.replaceChildren(...next.childNodes);
}

/** A heading and its content. */
export const sectionOf = (title, ...content) => create("section", {}, create("h2", {}, title), ...content);

export const hiddenText =
  "Hidden. Start the dashboard with --show-results, or mount it with showResults: true, to show values and failures.";
