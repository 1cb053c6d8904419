import { create } from "./dom.js";

/**
 * A table of entries by key. Rows stay in place when their entries do, so that focus and selection survive. On a narrow
 * window each row is a card, for which cells have the titles of their columns; explicit roles keep it a table there.
 */
export class Table {
  #box;
  #columns;
  #keyOf;
  #emptyText;
  #rows = new Map();
  #body;

  /** `columns` have a title, a function that gives the content of a cell, and perhaps a class. */
  constructor(box, emptyText, keyOf, columns) {
    this.#box = box;
    this.#emptyText = emptyText;
    this.#keyOf = keyOf;
    this.#columns = columns;
  }

  /** Shows the entries in their order. */
  show(entries) {
    if (entries.length === 0) {
      if (this.#body !== undefined || this.#box.childElementCount === 0)
        this.#box.replaceChildren(create("p", { class: "empty" }, this.#emptyText));
      this.#body = undefined;
      this.#rows.clear();
      return;
    }
    this.#body ??= this.#createBody();
    const keys = new Set(entries.map(this.#keyOf));
    for (const [key, { row }] of this.#rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    let before = this.#body.firstElementChild;
    for (const entry of entries) {
      const { row } = this.#update(this.#keyOf(entry), entry);
      if (row === before) before = before.nextElementSibling;
      else this.#body.insertBefore(row, before);
    }
  }

  #update(key, entry) {
    const known = this.#rows.get(key) ?? { row: create("tr", { role: "row" }), cells: [] };
    this.#rows.set(key, known);
    for (const [index, [title, contentOf, className = ""]] of this.#columns.entries()) {
      const content = contentOf(entry);
      const text = typeof content === "string" ? content : content.outerHTML;
      const cell = known.cells[index];
      if (cell?.text === text) continue;
      const element = cell?.element ?? create("td", { role: "cell", "data-title": title, class: className });
      if (cell === undefined) known.row.append(element);
      element.replaceChildren(content);
      known.cells[index] = { element, text };
    }
    return known;
  }

  #createBody() {
    const titles = this.#columns.map(([title, , className = ""]) =>
      create("th", { scope: "col", role: "columnheader", class: className }, title),
    );
    const head = create("thead", { role: "rowgroup" }, create("tr", { role: "row" }, ...titles));
    const body = create("tbody", { role: "rowgroup" });
    const label = this.#box.getAttribute("aria-labelledby") ?? "";
    this.#box.replaceChildren(create("table", { role: "table", "aria-labelledby": label }, head, body));
    return body;
  }
}
