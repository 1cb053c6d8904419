import { setText } from "./dom.js";

const statusTexts = {
  idle: ["Idle", "No wait or stream is open."],
  connecting: ["Connecting…", "LISTEN is being set up."],
  listening: ["Listening", "Notifications arrive."],
  polling: ["Polling", "No notifications arrive; results are read every second instead."],
  closed: ["Closed", "The backend is closed."],
};
const svgNamespace = "http://www.w3.org/2000/svg";

/** Lists the current problems. */
export function showProblems({ problems }) {
  const box = document.getElementById("problems");
  const shown = [...box.children].map(({ textContent }) => textContent);
  // Only at a change: a screen reader announces each update.
  if (shown.join("\n") === problems.join("\n")) return;
  box.replaceChildren(
    ...problems.map((problem) => {
      const line = document.createElement("p");
      line.textContent = problem;
      return line;
    }),
  );
}

export function showFigures(state) {
  const [status, note] = statusTexts[state.status];
  setText("status", status);
  document.getElementById("status").classList.toggle("good", state.status === "listening");
  document.getElementById("status").classList.toggle("bad", ["polling", "closed"].includes(state.status));
  setText("status-note", `${note} Connections lost so far: ${state.reconnects}.`);
  setText("rate", formatNumber(state.resultsPerSecond));
  setText(
    "rate-note",
    `Average of task results over 5 seconds. Seen while a page was open: ${formatNumber(state.resultsSeen)} (${formatNumber(state.failuresSeen)} failed).`,
  );
  setText("heartbeat", formatMs(state.heartbeatMs));
  setText("database", formatMs(state.databaseMs));
  const usage = state.notifyQueueUsage === null ? "unknown" : `${formatNumber(100 * state.notifyQueueUsage)} % full`;
  setText("database-note", `Round trip of one query. Notification queue: ${usage}.`);
  showHistory(state.history);
}

function showHistory(history) {
  const chart = document.getElementById("history");
  const most = Math.max(...history);
  const label = `Results per second over the last ${history.length} seconds: at most ${formatNumber(most)}`;
  const points = history.map((count, index) => {
    const x = (240 * index) / (history.length - 1);
    return `${x.toFixed(1)},${(30 - (28 * count) / Math.max(most, 1)).toFixed(1)}`;
  });
  if (chart.firstElementChild === null) chart.append(document.createElementNS(svgNamespace, "polyline"));
  chart.firstElementChild.setAttribute("points", points.join(" "));
  chart.setAttribute("aria-label", label);
}

function formatNumber(number) {
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

function formatMs(ms) {
  return ms === null ? "–" : `${ms.toLocaleString("en", { maximumSignificantDigits: ms < 100 ? 2 : 3 })} ms`;
}
