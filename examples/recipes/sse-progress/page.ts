/** The page. `EventSource` reconnects by itself, and the first event after that is the current progress. */
export const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Tiles of the map</title>
<link rel="icon" href="data:,">
<style>body { font: 1rem/1.5 system-ui; max-width: 30rem; margin: 4rem auto } progress { width: 100% }</style>
<h1>Tiles of the map</h1>
<progress id="bar" aria-labelledby="text" value="0"></progress>
<p id="text" role="status">…</p>
<script>
  const source = new EventSource(location.pathname + "/events");
  const bar = document.getElementById("bar");
  const text = document.getElementById("text");
  source.addEventListener("progress", ({ data }) => {
    const { total, completed, failed } = JSON.parse(data);
    bar.max = total ?? 1;
    bar.value = completed + failed;
    text.textContent = completed + " of " + total + (failed > 0 ? ", " + failed + " failed" : "");
  });
  source.addEventListener("done", () => {
    source.close();
    text.textContent += ". Done.";
  });
  source.addEventListener("error", () => { text.textContent += " (connecting again)"; });
</script>
</html>
`;
