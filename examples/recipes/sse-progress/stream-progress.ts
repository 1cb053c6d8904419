import type { ServerResponse } from "node:http";
import { throttleTime } from "rxjs";
import type { ResultBackend } from "kojin-postgres";

/**
 * Sends how far a group is as server-sent events: `progress` with each change, `done` at the end. A client that connects again needs no `Last-Event-ID`: `group$`
 * begins with the present state.
 */
export function streamProgress(backend: ResultBackend, groupId: string, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  // A comment now and then: proxies end a connection on which nothing comes, and a client that is gone is noticed.
  const heartbeat = setInterval(() => response.write(":\n\n"), 15_000);
  const subscription = backend
    .group$(groupId)
    // Nobody sees more than ten changes in a second; the last one is always sent.
    .pipe(throttleTime(100, undefined, { leading: true, trailing: true }))
    .subscribe({
      next: (progress) => response.write(`event: progress\ndata: ${JSON.stringify(progress)}\n\n`),
      complete: () => response.end("event: done\ndata: {}\n\n"),
      // The client connects again by itself.
      error: () => response.end(),
    });
  response.once("close", () => {
    clearInterval(heartbeat);
    subscription.unsubscribe();
  });
}
