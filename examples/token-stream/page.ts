/**
 * The page keeps the answer so far with the id of its last event. After a reload it goes on from there. While it is
 * open, its `EventSource` reconnects by itself.
 */
export const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>An answer</title>
<link rel="icon" href="data:,">
<style>body { font: 1rem/1.5 system-ui; max-width: 40rem; margin: 4rem auto }</style>
<h1>An answer</h1>
<p id="answer"></p>
<p id="state" role="status">…</p>
<p>Tokens since this page was loaded: <span id="received">0</span></p>
<script>
  const task = new URLSearchParams(location.search).get("task");
  const [answer, state, received] = ["answer", "state", "received"].map((id) => document.getElementById(id));
  const saved = JSON.parse(sessionStorage.getItem(task)) ?? { text: "", id: "" };
  const show = (text, id) => {
    answer.textContent = text;
    sessionStorage.setItem(task, JSON.stringify({ text, id }));
  };
  show(saved.text, saved.id);
  const source = new EventSource("/chunks?" + new URLSearchParams({ task, after: saved.id }));
  source.addEventListener("chunk", ({ data, lastEventId }) => {
    received.textContent = Number(received.textContent) + 1;
    show(answer.textContent + JSON.parse(data), lastEventId);
  });
  source.addEventListener("restart", ({ lastEventId }) => show("", lastEventId));
  source.addEventListener("result", () => (state.textContent = "Complete."));
  source.addEventListener("failure", () => (state.textContent = "It failed."));
  source.onopen = () => (state.textContent = "Reading…");
  source.onerror = () => {
    // After the outcome the server answers 204, and the EventSource closes.
    if (source.readyState === EventSource.CONNECTING && !/\\.$/.test(state.textContent)) state.textContent = "Reconnecting…";
  };
</script>
`;
