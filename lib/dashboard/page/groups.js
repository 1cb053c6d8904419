import { setText } from "./dom.js";

const list = document.getElementById("groups");
/** The elements of each group, by id. */
const shown = new Map();
let made = 0;

export function showGroups({ groups, hasMoreGroups }) {
  setText("groups-note", noteOf(groups, hasMoreGroups));
  if (groups === null) return;
  const present = new Set(groups.map(({ groupId }) => groupId));
  for (const [groupId, { item }] of shown) {
    if (present.has(groupId)) continue;
    item.remove();
    shown.delete(groupId);
  }
  let before = list.firstElementChild;
  for (const group of groups) {
    const view = shown.get(group.groupId) ?? createView(group.groupId);
    // Existing items stay in place, so that focus and selection survive.
    if (view.item === before) before = before.nextElementSibling;
    else list.insertBefore(view.item, before);
    update(view, group);
  }
}

function noteOf(groups, hasMoreGroups) {
  if (groups === null) return "Loading…";
  if (groups.length === 0) return "No open groups.";
  return hasMoreGroups ? `The first ${groups.length} by id; more are open.` : "Sorted by id.";
}

function createView(groupId) {
  made += 1;
  const item = document.createElement("li");
  // Isolated: an id with right-to-left text must not reorder the text beside it.
  const name = document.createElement("bdi");
  name.className = "id";
  name.id = `group-${made}`;
  name.textContent = groupId;
  const bar = document.createElement("progress");
  bar.setAttribute("aria-labelledby", name.id);
  const count = document.createElement("span");
  count.className = "count";
  count.id = `group-${made}-count`;
  bar.setAttribute("aria-describedby", count.id);
  item.append(name, bar, count);
  const view = { item, bar, count };
  shown.set(groupId, view);
  return view;
}

function update({ item, bar, count }, { total, completed, failed, done }) {
  const finished = completed + failed;
  if (total === null) bar.removeAttribute("value");
  else {
    bar.max = Math.max(total, 1);
    bar.value = total === 0 ? 1 : finished;
  }
  item.classList.toggle("has-failures", failed > 0);
  const size = total === null ? `${finished}, size unknown` : `${finished} of ${total}`;
  const text = `${size}${failed > 0 ? `, ${failed} failed` : ""}${done ? ", done" : ""}`;
  if (count.textContent !== text) count.textContent = text;
}
