/** The server sends a heartbeat every 10 s; one may get lost. */
const heartbeatTimeoutMs = 25_000;
const retryMs = 2_000;

/**
 * Keeps a connection to the server. A browser reconnects by itself if the connection was cut, but not if the server
 * answered with an error, or if heartbeats stop.
 * Calls `onState` with each state, and `onConnection` with "connected", "reconnecting" or "refused".
 */
export function connect(onState, onConnection) {
  let source;
  let timeout;

  const onHeartbeat = () => {
    clearTimeout(timeout);
    timeout = setTimeout(reopen, heartbeatTimeoutMs);
    onConnection("connected");
  };

  const open = () => {
    source = new EventSource("events");
    source.addEventListener("state", ({ data }) => {
      onHeartbeat();
      onState(JSON.parse(data));
    });
    source.addEventListener("heartbeat", onHeartbeat);
    source.addEventListener("error", () => {
      onConnection("reconnecting");
      if (source.readyState === EventSource.CLOSED) void retry();
    });
  };

  const reopen = () => {
    clearTimeout(timeout);
    source.close();
    onConnection("reconnecting");
    open();
  };

  // An EventSource does not report the status of a response, so the server is asked again.
  const retry = async () => {
    const response = await fetch("events", { method: "HEAD" }).catch(() => undefined);
    if (response?.status === 401 || response?.status === 403) onConnection("refused");
    setTimeout(reopen, retryMs);
  };

  open();
}
