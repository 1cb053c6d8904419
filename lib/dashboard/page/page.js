import { connect } from "./connection.js";
import { showFigures, showProblems } from "./figures.js";
import { showGroups } from "./groups.js";
import { showTables } from "./tables.js";

const connectionTexts = {
  connected: "Live",
  reconnecting: "Reconnecting… The page shows the last known state.",
  refused: "Access denied. Open the address that the command printed.",
};

const badge = document.getElementById("connection");
const pause = document.getElementById("pause");
let isPaused = false;
let latest;

function show() {
  if (isPaused || latest === undefined) return;
  showProblems(latest);
  showFigures(latest);
  showGroups(latest);
  showTables(latest);
}

function showConnection(connection) {
  // Only at a change: a screen reader announces each update.
  if (badge.dataset.state === connection) return;
  badge.dataset.state = connection;
  badge.textContent = connectionTexts[connection];
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  show();
});

connect((state) => {
  latest = state;
  show();
}, showConnection);
