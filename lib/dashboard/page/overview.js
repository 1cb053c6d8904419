import { createBar, failedOf, sizeOf } from "./bar.js";
import { drawChart, gapsOf } from "./charts.js";
import { serverNow } from "./clock.js";
import { formatAge, formatBytes, formatMs, formatNumber, idOf, linkTo, setText, stateOf, timeOf } from "./dom.js";
import { Table } from "./table.js";

const statusTexts = {
  idle: ["Idle", "No wait or stream is open."],
  connecting: ["Connecting…", "LISTEN is being set up."],
  listening: ["Listening", "Notifications arrive."],
  polling: ["Polling", "No notifications arrive; results are read every second instead."],
  closed: ["Closed", "The backend is closed."],
};
/** As on the server: a count that is higher was not finished. */
const maxCounted = 10_000;
const maxOpen = 2_000;
const bucketSeconds = 10;

const sort = document.getElementById("sort");
const box = (id) => document.getElementById(id);
const count = (number, most) => (number > most ? `${formatNumber(most)}+` : formatNumber(number));
let tables;

export function showOverview(state) {
  showFigures(state);
  showCharts(state);
  tables ??= createTables(state.showsResults);
  showGroups(state);
  if (state.results === null) return;
  tables.results.show(state.results);
  tables.failures.show(state.failures);
}

/** Calls `onSort` when another order of the groups is chosen. */
export function onSort(listener) {
  sort.addEventListener("change", listener);
}

function showFigures({ status, reconnects, waiting, databaseMs, notifyQueueUsage, facts, groups }) {
  const [name, note] = statusTexts[status];
  setText("status", name);
  box("status").classList.toggle("good", status === "listening");
  box("status").classList.toggle("bad", ["polling", "closed"].includes(status));
  setText(
    "status-note",
    `${note} Connections lost so far: ${reconnects}. Waits open in this process: ${formatNumber(waiting)}.`,
  );
  setText("database", formatMs(databaseMs));
  const usage = notifyQueueUsage === null ? "unknown" : `${formatNumber(100 * notifyQueueUsage)} % full`;
  setText("database-note", `Round trip of one query. Notification queue: ${usage}. ${sizesOf(facts.tables)}`);
  setText("open", groups === null ? "–" : count(groups.openCount, maxOpen));
  const unclaimed =
    facts.unclaimed === undefined ? "" : `Done and not claimed: ${count(facts.unclaimed, maxCounted - 1)}.`;
  setText("open-note", unclaimed);
  setText("expired", facts.expired === undefined ? "–" : count(facts.expired, maxCounted));
  setText(
    "expired-note",
    facts.expired > 0
      ? `The first one expired ${formatAge(serverNow() - facts.expiredSince)} ago. Readers do not see them; prune() deletes them.`
      : "Readers do not see expired rows; prune() deletes them.",
  );
}

function sizesOf(tables = []) {
  const results = tables.find(({ name }) => name === "kojin_results");
  if (results === undefined) return "";
  return `About ${formatNumber(results.rows)} results, ${formatBytes(results.bytes)}.`;
}

function showCharts({ series, results, resultsPerSecond, heartbeatMs }) {
  setText("rate", results === null ? "–" : formatNumber(resultsPerSecond));
  setText("heartbeat", formatMs(heartbeatMs));
  showRates("results", series.results);
  showRates("failures", series.failures);
  const latencies = series.latencies;
  const most = Math.max(0, ...latencies);
  const gaps = gapsOf(latencies, 2);
  const note = most === 0 ? "Not measured yet." : `At most ${formatMs(most)}. ${gapNote(gaps, "not measured")}`;
  drawChart(box("latency-chart"), latencies, {
    gaps,
    max: most,
    label: `Wake-up latency over the last hour. ${note}`,
  });
  setText("latency-note", `${note} From the pool to the listener, every 10 seconds while a page is open.`);
}

function showRates(kind, counts) {
  const rates = counts.map((each) => (each === null ? null : each / bucketSeconds));
  const most = Math.max(0, ...rates);
  const total = counts.reduce((sum, each) => sum + each, 0);
  const gaps = gapsOf(counts);
  const isCounted = counts.some((each) => each !== null);
  const figures = isCounted ? `At most ${formatNumber(most)}, together ${formatNumber(total)}. ` : "";
  const note = `${figures}${gapNote(gaps, "not counted")}`;
  const name = kind === "results" ? "Results" : "Failures";
  drawChart(box(`${kind}-chart`), rates, { gaps, max: most, label: `${name} per second over the last hour. ${note}` });
  setText(`${kind}-note`, note);
}

function gapNote(gaps, what) {
  const buckets = gaps.reduce((sum, [first, end]) => sum + end - first, 0);
  return buckets === 0 ? "" : `Grey: ${formatAge(buckets * bucketSeconds * 1_000)} ${what}.`;
}

const orders = {
  age: (one, other) => one.createdAt - other.createdAt,
  progress: (one, other) => shareOf(other) - shareOf(one),
  failed: (one, other) => other.failed - one.failed,
  id: (one, other) => (one.groupId < other.groupId ? -1 : 1),
};
const shareOf = ({ total, completed, failed }) => (total ? (completed + failed) / total : -1);

function showGroups({ groups, phase }) {
  setText("groups-note", noteOf(groups, phase));
  if (groups === null) return;
  tables.groups.show([...groups.open].sort(orders[sort.value]));
  tables.completed.show(groups.done);
}

function noteOf(groups, phase) {
  if (groups === null) return phase === "loading" ? "Loading…" : "Not read yet.";
  if (groups.openCount > maxOpen)
    return `The oldest ${groups.open.length} of the first ${formatNumber(maxOpen)} by id; more are open.`;
  if (groups.openCount > groups.open.length)
    return `The oldest ${groups.open.length} of ${formatNumber(groups.openCount)}.`;
  return "";
}

function createTables(showsResults) {
  const detail = (title) => (showsResults ? [[title, (entry) => idOf(entry.detail ?? "large")]] : []);
  const task = ["Task", ({ taskId }) => linkTo("task", taskId)];
  const stored = ["Stored", ({ storedAt }) => timeOf(storedAt), "time"];
  const group = ["Group", ({ groupId }) => linkTo("group", groupId)];
  const members = [
    ["Progress", createBar, "wide"],
    ["Members", sizeOf, "number"],
    ["Failed", failedOf, "number"],
  ];
  const taskKey = ({ taskId }) => taskId;
  const groupKey = ({ groupId }) => groupId;
  return {
    results: new Table(box("results"), "No results yet. They appear here as tasks store them.", taskKey, [
      stored,
      task,
      ["State", ({ isFailure }) => stateOf(isFailure ? "failed" : "succeeded")],
      ["Size", ({ bytes }) => formatBytes(bytes), "number"],
      ...detail("Result"),
    ]),
    failures: new Table(box("failures"), "No failures.", taskKey, [stored, task, ...detail("Failure")]),
    groups: new Table(box("groups"), "No open groups.", groupKey, [
      group,
      ...members,
      ["Age", ({ createdAt }) => formatAge(serverNow() - createdAt), "number"],
      [
        "Deadline",
        ({ expiresAt }) => (expiresAt === null ? "none" : `in ${formatAge(expiresAt - serverNow())}`),
        "number",
      ],
    ]),
    completed: new Table(box("completed"), "No completed groups.", groupKey, [
      group,
      ...members,
      ["Took", ({ createdAt, doneAt }) => formatAge(doneAt - createdAt), "number"],
      ["Done", ({ doneAt }) => timeOf(doneAt), "time"],
      ["Claim", ({ claim }) => claim],
    ]),
  };
}
