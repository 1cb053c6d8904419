import { setText } from "./dom.js";

const list = document.getElementById("groups");
/** From a group's id to what shows it. */
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
    // Only what is new is put in; what is there stays, with the focus and the selection in it.
    if (view.item === before) before = before.nextElementSibling;
    else list.insertBefore(view.item, before);
    update(view, group);
  }
}

function noteOf(groups, hasMoreGroups) {
  if (groups === null) return "Reading…";
  if (groups.length === 0) return "None.";
  return hasMoreGroups ? `The first ${groups.length}, by their ids; there are more.` : "By their ids.";
}

function createView(groupId) {
  made += 1;
  const item = document.createElement("li");
  // Of its own direction: an id must not turn around what stands beside it.
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
