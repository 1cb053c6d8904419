import { setServerTime } from "./clock.js";
import { connect } from "./connection.js";
import { closeDetail, openDetail } from "./detail.js";
import { addressOf, setText } from "./dom.js";
import { showNotices } from "./notices.js";
import { onSort, showOverview } from "./overview.js";

const connectionTexts = {
  connected: "Live",
  reconnecting: "Reconnecting… The page shows the last known state.",
  refused: "Access denied. Open the address with the token, or log in again.",
};
/** How often ages are shown anew. */
const ageMs = 5_000;

const badge = document.getElementById("connection");
const pause = document.getElementById("pause");
const query = document.getElementById("query");
let isPaused = false;
let connection = "connecting";
let latest;

function show() {
  if (isPaused || latest === undefined) return;
  showNotices(latest);
  showIdentity(latest.facts);
  showOverview(latest);
}

function showIdentity({ database, schema, serverVersion, schemaVersion }) {
  if (database === undefined) return;
  const version = schemaVersion === undefined ? "" : ` · tables version ${schemaVersion}`;
  setText("identity", `${database} · schema ${schema} · PostgreSQL ${serverVersion}${version}`);
}

function showConnection() {
  const state = isPaused && connection !== "refused" ? "paused" : connection;
  // Only at a change: a screen reader announces each update.
  if (badge.dataset.state === state) return;
  badge.dataset.state = state;
  badge.textContent = state === "paused" ? "Paused" : connectionTexts[state];
}

/** Shows the page that the address names. */
function route() {
  const params = new URLSearchParams(location.hash.slice(1));
  const kind = ["task", "group", "search"].find((name) => params.get(name));
  document.getElementById("overview").hidden = kind !== undefined;
  document.getElementById("detail").hidden = kind === undefined;
  if (kind === undefined) closeDetail();
  else openDetail(kind, params.get(kind), () => isPaused);
  document.title = kind === undefined ? "kojin-postgres" : `${params.get(kind)} – kojin-postgres`;
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.textContent = isPaused ? "Resume" : "Pause";
  showConnection();
  show();
});

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (query.value !== "") location.hash = addressOf("search", query.value);
});

addEventListener("hashchange", route);
onSort(show);
setInterval(show, ageMs);
route();
connect(
  (state) => {
    latest = state;
    setServerTime(state.now);
    show();
  },
  (state) => {
    connection = state;
    showConnection();
  },
);
