import { serverNow } from "./clock.js";
import { create, formatAge, formatBytes, formatNumber, idOf, stateOf, timeOf } from "./dom.js";
import { factsOf, hiddenText, replaceIfChanged, sectionOf } from "./facts.js";

/** A page about one task. */
export function createTaskView(content, taskId) {
  const body = create("div");
  content.append(create("h2", {}, "Task ", idOf(taskId)), body);
  return (task) => {
    replaceIfChanged(body, describe(task), ...valueOf(task), ...chunksOf(task));
    // It can still be replaced or deleted.
    return task.state === "succeeded" || task.state === "failed";
  };
}

function describe({ state, storedAt, expiresAt, bytes, traceContext, attempt }) {
  if (state === "unknown")
    return create("p", {}, "Nothing is stored for this id. The task has not finished, has expired, or does not exist.");
  return factsOf({
    State: stateOf(state),
    Stored: storedAt === null ? undefined : timeOf(storedAt),
    Expires: storedAt === null ? undefined : expiryOf(expiresAt),
    Size: bytes === null ? undefined : `${formatBytes(bytes)} as stored`,
    Attempt: attempt === null || attempt === 1 ? undefined : formatNumber(attempt),
    Trace: traceContext === null ? undefined : idOf(traceContext),
  });
}

export const expiryOf = (expiresAt) =>
  expiresAt === null ? "never" : create("span", {}, timeOf(expiresAt), `, in ${formatAge(expiresAt - serverNow())}`);

function valueOf({ state, json, bytes, hidesResults }) {
  if (state !== "succeeded" && state !== "failed") return [];
  const title = state === "failed" ? "Error" : "Result";
  if (hidesResults) return [sectionOf(title, create("p", { class: "note" }, hiddenText))];
  if (json === null)
    return [sectionOf(title, create("p", { class: "note" }, `Too large to show: ${formatBytes(bytes)}.`))];
  return [sectionOf(title, state === "failed" ? errorOf(JSON.parse(json)) : textOf(json))];
}

/** An error with its details and causes. */
function errorOf(error) {
  if (typeof error !== "object" || error === null) return textOf(JSON.stringify(error));
  const { name = "Error", message = "", code, details, stack, cause } = error;
  return create(
    "div",
    { class: "error" },
    create("p", {}, create("b", { class: "bad" }, String(name)), code === undefined ? "" : ` (${code})`),
    create("pre", {}, String(message)),
    ...(stack === undefined ? [] : [create("p", { class: "note" }, "Stack"), create("pre", {}, String(stack))]),
    ...(details === undefined ? [] : [create("p", { class: "note" }, "Details"), textOf(JSON.stringify(details))]),
    ...(cause === undefined ? [] : [create("p", { class: "note" }, "Caused by"), errorOf(cause)]),
  );
}

/** JSON with a value per line. Numbers that JavaScript cannot hold are shown as they are. */
function textOf(json) {
  const text = JSON.stringify(JSON.parse(json), null, 2);
  const isExact = JSON.stringify(JSON.parse(json)).length === json.replace(/\s/g, "").length;
  return create("pre", {}, isExact || !/\d{16}/.test(json) ? text : json);
}

function chunksOf({ chunkCount, chunks, hidesResults }) {
  if (chunkCount === 0) return [];
  const items = chunks.map(({ sequence, bytes, json }) =>
    create("li", { value: String(sequence) }, json === null ? formatBytes(bytes) : create("code", {}, json)),
  );
  const older = chunkCount > chunks.length ? `, of which the latest ${chunks.length} are shown` : "";
  return [
    sectionOf(
      "Chunks",
      create(
        "p",
        { class: "note" },
        `${formatNumber(chunkCount)} chunks${older}.${hidesResults ? ` ${hiddenText}` : ""}`,
      ),
      create("ol", { class: "chunks", reversed: "" }, ...items),
    ),
  ];
}
