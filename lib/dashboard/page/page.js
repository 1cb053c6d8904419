import { connect } from "./connection.js";
import { showFigures, showProblems } from "./figures.js";
import { showGroups } from "./groups.js";
import { showTables } from "./tables.js";

const connectionTexts = {
  connected: "Live",
  reconnecting: "Reconnecting… what is shown is from before.",
  refused: "Not let in any more. Open the address that the command has printed.",
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
  // Only at a change: a screen reader speaks whatever is written here.
  if (badge.dataset.state === connection) return;
  badge.dataset.state = connection;
  badge.textContent = connectionTexts[connection];
}

// Whoever reads, or selects a text, can have it stand still.
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  show();
});

connect((state) => {
  latest = state;
  show();
}, showConnection);
