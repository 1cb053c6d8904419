import type { ServerResponse } from "node:http";
import { throttleTime } from "rxjs";
import type { ResultBackend } from "kojin-postgres";

/**
 * Sends the progress of a group as server-sent events: `progress` at each change, `done` at the end. A client that
 * reconnects needs no `Last-Event-ID`, since `group$` begins with the current progress.
 */
export function streamProgress(backend: ResultBackend, groupId: string, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  // A regular comment: proxies close idle connections, and a failed write reveals a client that has gone.
  const heartbeat = setInterval(() => response.write(":\n\n"), 15_000);
  const subscription = backend
    .group$(groupId)
    // At most ten changes per second. The last one is always sent.
    .pipe(throttleTime(100, undefined, { leading: true, trailing: true }))
    .subscribe({
      next: (progress) => response.write(`event: progress\ndata: ${JSON.stringify(progress)}\n\n`),
      complete: () => response.end("event: done\ndata: {}\n\n"),
      // The client reconnects by itself.
      error: () => response.end(),
    });
  response.once("close", () => {
    clearInterval(heartbeat);
    subscription.unsubscribe();
  });
}
