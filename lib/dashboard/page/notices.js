import { create, formatAge } from "./dom.js";
import { serverNow } from "./clock.js";

const box = document.getElementById("problems");
let shown = "";

/** Shows what is wrong, and what to do. */
export function showNotices({ phase, problems, readAt }) {
  const [title, advice] = {
    loading: ["Loading…", "Reading the tables for the first time."],
    unmigrated: ["The tables are missing or outdated", "The page continues by itself after the migration."],
    unreachable: ["The database does not answer", adviceWithout(readAt)],
    ready: ["", ""],
  }[phase];
  const text = JSON.stringify([title, problems]);
  // Only at a change: a screen reader announces each update.
  if (shown === text) return;
  shown = text;
  const lines = phase === "loading" ? [] : problems;
  const content = [
    ...(title === "" ? [] : [create("h2", {}, title)]),
    ...lines.map((line) => create("p", {}, line)),
    ...(advice === "" ? [] : [create("p", {}, advice)]),
  ];
  box.className = content.length === 0 ? "" : `box ${phase === "loading" ? "" : "bad-box"}`;
  box.replaceChildren(...content);
}

function adviceWithout(readAt) {
  const check = "Check that PostgreSQL runs and that this process can reach it. The page recovers by itself.";
  return readAt === null ? check : `${check} Below is the state of ${formatAge(serverNow() - readAt)} ago.`;
}
