/** The server sends a sign of life every 10 s; one may get lost. */
const silenceMs = 25_000;
const retryMs = 2_000;

/**
 * Keeps a connection to the server, for ever. A browser connects again by itself where the connection was cut, but neither where the server answered with an error, nor
 * where it has fallen silent.
 * Calls `onState` with each state, and `onConnection` with "connected", "reconnecting" or "refused".
 */
export function connect(onState, onConnection) {
  let source;
  let silence;

  const onSignOfLife = () => {
    clearTimeout(silence);
    silence = setTimeout(reopen, silenceMs);
    onConnection("connected");
  };

  const open = () => {
    source = new EventSource("events");
    source.addEventListener("state", ({ data }) => {
      onSignOfLife();
      onState(JSON.parse(data));
    });
    source.addEventListener("heartbeat", onSignOfLife);
    source.addEventListener("error", () => {
      onConnection("reconnecting");
      if (source.readyState === EventSource.CLOSED) void askWhy();
    });
  };

  const reopen = () => {
    clearTimeout(silence);
    source.close();
    onConnection("reconnecting");
    open();
  };

  // An EventSource does not tell what was answered.
  const askWhy = async () => {
    const answer = await fetch("events", { method: "HEAD" }).catch(() => undefined);
    if (answer?.status === 401 || answer?.status === 403) onConnection("refused");
    setTimeout(reopen, retryMs);
  };

  open();
}
