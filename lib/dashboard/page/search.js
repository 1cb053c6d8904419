import { create, idOf, linkTo, stateOf, timeOf } from "./dom.js";
import { Table } from "./table.js";

/** A page with the tasks and groups whose ids begin with a text. */
export function createSearchView(content, prefix) {
  const box = create("div", { class: "list", "aria-labelledby": "hits-title" });
  const note = create("p", { class: "note" });
  content.append(create("h2", { id: "hits-title" }, "Ids that begin with ", idOf(prefix)), note, box);
  const emptyText =
    "No task or group has such an id. Members of groups are listed on the page of their group, and tasks that store nothing before they finish are unknown until then.";
  const table = new Table(box, emptyText, ({ kind, id }) => JSON.stringify([kind, id]), [
    ["Kind", ({ kind }) => kind],
    ["Id", ({ kind, id }) => linkTo(kind, id)],
    ["State", ({ state }) => stateOf(state)],
    ["Time", ({ at }) => (at === null ? "" : timeOf(at)), "time"],
  ]);
  return (hits) => {
    table.show(hits);
    note.textContent =
      hits.length >= 50 ? "At most 50 of each kind are shown. A longer beginning narrows the list." : "";
    return true;
  };
}
