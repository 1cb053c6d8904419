import { createBar, failedOf, sizeOf } from "./bar.js";
import { drawChart } from "./charts.js";
import { serverNow } from "./clock.js";
import { create, formatAge, formatBytes, formatNumber, idOf, linkTo, stateOf, timeOf } from "./dom.js";
import { factsOf, replaceIfChanged } from "./facts.js";
import { Table } from "./table.js";
import { expiryOf } from "./task.js";

const intervals = 60;
const states = ["all", "failed", "open", "completed"];

/** A page about one group. `ask` reads it with other parameters. */
export function createGroupView(content, groupId, ask) {
  const body = create("div");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("preserveAspectRatio", "none");
  const progressNote = create("p", { class: "note" });
  const figure = create("figure", {}, create("figcaption", {}, "Finished members over time"), svg, progressNote);
  const select = create("select", {}, ...states.map((state) => create("option", {}, state)));
  const box = create("div", { class: "list", "aria-labelledby": "members-title" });
  const next = create("button", { type: "button" }, "Next page");
  const first = create("button", { type: "button" }, "First page");
  const pages = create("p", { class: "pages" }, first, next);
  const members = create(
    "section",
    {},
    create(
      "div",
      { class: "heading" },
      create("h2", { id: "members-title" }, "Members"),
      create("label", {}, "Show ", select),
    ),
    box,
    pages,
  );
  content.append(create("h2", {}, "Group ", idOf(groupId)), body, figure, members);
  let after = "";
  let following = null;
  const read = (place) => {
    after = place;
    ask({ after, ...(select.value === "all" ? {} : { state: select.value }) });
  };
  select.addEventListener("change", () => read(""));
  first.addEventListener("click", () => read(""));
  next.addEventListener("click", () => read(following));
  let table;

  return (details) => {
    const isKnown = details.group !== undefined;
    figure.hidden = details.progress === null;
    members.hidden = !isKnown;
    replaceIfChanged(
      body,
      isKnown ? describe(details.group) : create("p", {}, "There is no such group, or it has expired."),
    );
    if (!isKnown) return true;
    if (details.progress !== null) showProgress(svg, progressNote, details);
    table ??= createTable(box, details.showsResults);
    table.show(details.members);
    following = details.next;
    first.hidden = after === "";
    next.hidden = following === null;
    return details.group.doneAt !== null;
  };
}

function describe(group) {
  const { createdAt, doneAt, expiresAt, claim } = group;
  const isOpen = doneAt === null;
  return create(
    "div",
    {},
    createBar(group),
    factsOf({
      State: isOpen ? "open" : stateOf("done"),
      Members: sizeOf(group),
      Failed: failedOf(group),
      Created: create("span", {}, timeOf(createdAt), `, ${formatAge(serverNow() - createdAt)} ago`),
      Done: isOpen ? undefined : create("span", {}, timeOf(doneAt), `, after ${formatAge(doneAt - createdAt)}`),
      [isOpen ? "Deadline" : "Expires"]: isOpen && expiresAt === null ? "none" : expiryOf(expiresAt),
      Claim: isOpen ? undefined : claim,
    }),
  );
}

/** Draws how many members had finished by the end of each interval. */
function showProgress(svg, note, { group, progress }) {
  const { from, to, counts, isCut } = progress;
  const byInterval = new Map(counts.map(([interval, ...each]) => [interval, each]));
  const read = counts.reduce(([completed, failed], [, one, other]) => [completed + one, failed + other], [0, 0]);
  // Members that finished before those that were read.
  let [completed, failed] = [Math.max(0, group.completed - read[0]), Math.max(0, group.failed - read[1])];
  const sums = Array.from({ length: intervals }, (_, interval) => {
    const [one, other] = byInterval.get(interval) ?? [0, 0];
    completed += one;
    failed += other;
    return [completed, failed];
  });
  const span = `from ${new Date(from).toLocaleTimeString("en-GB")} to ${new Date(to).toLocaleTimeString("en-GB")}`;
  const text = `${formatNumber(completed + failed)} members finished, ${span}, within ${formatAge(to - from)}.`;
  const label = isCut ? `${text} Earlier ones are not shown.` : text;
  drawChart(
    svg,
    sums.map(([one]) => one),
    {
      stacked: sums.map(([, other]) => other),
      max: Math.max(group.total ?? 0, completed + failed),
      label,
    },
  );
  note.textContent = label;
}

function createTable(box, showsResults) {
  return new Table(box, "No members here.", ({ taskId }) => taskId, [
    ["Member", ({ taskId }) => linkTo("task", taskId)],
    ["State", ({ state }) => stateOf(state)],
    ["Finished", ({ finishedAt }) => (finishedAt === null ? "" : timeOf(finishedAt)), "time"],
    ["Size", ({ bytes }) => (bytes === null ? "" : formatBytes(bytes)), "number"],
    ...(showsResults ? [["Result or error", ({ detail = "" }) => idOf(detail)]] : []),
  ]);
}
