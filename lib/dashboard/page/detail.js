import { create } from "./dom.js";
import { createGroupView } from "./group.js";
import { createSearchView } from "./search.js";
import { createTaskView } from "./task.js";

const refreshMs = 2_000;
const views = { task: createTaskView, group: createGroupView, search: createSearchView };

const box = document.getElementById("detail");
let abort = new AbortController();

export function closeDetail() {
  abort.abort();
  box.replaceChildren();
}

/** Shows a task, a group or a search, and reads it again every two seconds while it can change. */
export function openDetail(kind, id, isPaused) {
  closeDetail();
  abort = new AbortController();
  const { signal } = abort;
  const note = create("p", { class: "note", role: "status" }, "Loading…");
  const content = create("div");
  box.append(create("p", {}, create("a", { href: "#" }, "← Overview")), note, content);
  let params = {};
  const view = views[kind](content, id, (changed) => {
    params = changed;
    void read();
  });
  let timer;

  const read = async () => {
    clearTimeout(timer);
    let isOver = false;
    if (!isPaused() && document.visibilityState === "visible") {
      try {
        const response = await fetch(`data/${kind}?${new URLSearchParams({ id, ...params })}`, { signal });
        if (!response.ok) throw new Error(await response.text());
        isOver = view(await response.json()) === true;
        note.textContent = "";
      } catch (error) {
        if (signal.aborted) return;
        note.textContent = `Could not read it: ${error.message} Trying again.`;
      }
    }
    if (!signal.aborted) timer = setTimeout(read, isOver ? 5 * refreshMs : refreshMs);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  void read();
}
