/** A table that adds rows at the top and removes them at the bottom. Rows in between are not touched. */
class Table {
  #box;
  #columns;
  #cellsOf;
  #emptyText;
  #body;
  #newest = 0;

  constructor(id, emptyText, columns, cellsOf) {
    this.#box = document.getElementById(id);
    this.#emptyText = emptyText;
    this.#columns = columns;
    this.#cellsOf = cellsOf;
    this.clear();
  }

  clear() {
    const empty = document.createElement("p");
    empty.textContent = this.#emptyText;
    this.#box.replaceChildren(empty);
    this.#body = undefined;
    this.#newest = 0;
  }

  /** Shows entries, newest first. Each has a higher number than those before it. */
  show(entries) {
    // Another run of the server, which counts from 1.
    if ((entries[0]?.number ?? 0) < this.#newest) this.clear();
    if (entries.length === 0) return;
    this.#body ??= this.#createTable();
    const added = entries.filter(({ number }) => number > this.#newest);
    this.#body.prepend(...added.map((entry) => createRow(this.#cellsOf(entry))));
    while (this.#body.childElementCount > entries.length) this.#body.lastElementChild.remove();
    this.#newest = entries[0].number;
  }

  #createTable() {
    const table = document.createElement("table");
    table.setAttribute("aria-labelledby", this.#box.getAttribute("aria-labelledby"));
    const head = table.createTHead().insertRow();
    for (const title of this.#columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = title;
      head.append(cell);
    }
    this.#box.replaceChildren(table);
    return table.createTBody();
  }
}

function createRow(cells) {
  const row = document.createElement("tr");
  for (const content of cells) row.insertCell().append(content);
  return row;
}

/** Text from the database, isolated so that right-to-left text cannot reorder the text beside it. */
function idOf(text) {
  const id = document.createElement("bdi");
  id.className = "id";
  id.textContent = text;
  return id;
}

function timeOf(seenAt) {
  const time = document.createElement("time");
  const date = new Date(seenAt);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString("en-GB");
  return time;
}

function stateOf(isFailure) {
  const state = document.createElement("span");
  state.className = isFailure ? "bad" : "good";
  state.textContent = isFailure ? "failed" : "succeeded";
  return state;
}

let tables;

export function showTables({ results, failures, completedGroups, showsResults }) {
  tables ??= createTables(showsResults);
  tables.results.show(results);
  tables.failures.show(failures);
  tables.completed.show(completedGroups);
}

function createTables(showsResults) {
  const details = (title) => (showsResults ? [title] : []);
  const detailOf = ({ detail }) => (showsResults ? [idOf(detail)] : []);
  return {
    results: new Table("results", "No results yet.", ["Seen", "Task", "State", ...details("Result")], (entry) => [
      timeOf(entry.seenAt),
      idOf(entry.taskId),
      stateOf(entry.isFailure),
      ...detailOf(entry),
    ]),
    failures: new Table("failures", "No failures yet.", ["Seen", "Task", ...details("Failure")], (entry) => [
      timeOf(entry.seenAt),
      idOf(entry.taskId),
      ...detailOf(entry),
    ]),
    completed: new Table(
      "completed",
      "No completed groups yet.",
      ["Seen", "Group", "Succeeded", "Failed"],
      ({ seenAt, groupId, completed, failed }) => [
        timeOf(seenAt),
        idOf(groupId),
        completed.toLocaleString("en"),
        failed.toLocaleString("en"),
      ],
    ),
  };
}
