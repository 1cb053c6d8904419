/** A table whose rows come in at the top and go out at the bottom; what is there is not touched. */
class Table {
  #box;
  #columns;
  #cellsOf;
  #body;
  #newest = 0;

  constructor(id, columns, cellsOf) {
    this.#box = document.getElementById(id);
    this.#columns = columns;
    this.#cellsOf = cellsOf;
    this.clear();
  }

  /** As long as there is nothing, it says so. */
  clear() {
    const nothing = document.createElement("p");
    nothing.textContent = "None since a page was opened.";
    this.#box.replaceChildren(nothing);
    this.#body = undefined;
    this.#newest = 0;
  }

  /** Of entries, newest first, each with a number that grows. */
  show(entries) {
    // The server was started anew, and counts from the beginning.
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

/** An id, or anything else from the database: of its own direction, so that it cannot turn around what stands beside it. */
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

export function showTables({ results, failures, doneGroups, showsResults }) {
  tables ??= createTables(showsResults);
  tables.results.show(results);
  tables.failures.show(failures);
  tables.done.show(doneGroups);
}

function createTables(showsResults) {
  const details = (title) => (showsResults ? [title] : []);
  const detailOf = ({ detail }) => (showsResults ? [idOf(detail)] : []);
  return {
    results: new Table("results", ["Seen", "Task", "State", ...details("Result")], (entry) => [
      timeOf(entry.seenAt),
      idOf(entry.taskId),
      stateOf(entry.isFailure),
      ...detailOf(entry),
    ]),
    failures: new Table("failures", ["Seen", "Task", ...details("Failure")], (entry) => [
      timeOf(entry.seenAt),
      idOf(entry.taskId),
      ...detailOf(entry),
    ]),
    done: new Table("done", ["Seen", "Group", "Succeeded", "Failed"], ({ seenAt, groupId, completed, failed }) => [
      timeOf(seenAt),
      idOf(groupId),
      completed.toLocaleString("en"),
      failed.toLocaleString("en"),
    ]),
  };
}
