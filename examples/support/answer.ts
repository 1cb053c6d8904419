import type { ServerResponse } from "node:http";
import { TaskFailedError, WaitTimeoutError, type ResultBackend, type WaitOptions } from "kojin-postgres";

/** Aborts when the client goes away. Call it before the first await: a response emits `close` only once. */
export function untilGone(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  // Also emitted after the answer was sent, when nothing waits any more.
  response.once("close", () => gone.abort());
  return gone.signal;
}

/**
 * Answers with the result of a task: 200 if it arrives in time, otherwise 202 with the address to ask again. Sends
 * nothing if the client has gone.
 */
export async function answerWhenDone(
  backend: ResultBackend,
  taskId: string,
  response: ServerResponse,
  options: WaitOptions,
): Promise<void> {
  try {
    sendJson(response, 200, await backend.wait(taskId, options));
  } catch (error) {
    if (options.signal?.aborted) return;
    if (error instanceof WaitTimeoutError) {
      response.setHeader("location", `/tasks/${encodeURIComponent(taskId)}`).setHeader("retry-after", "1");
      sendJson(response, 202, { taskId });
    } else if (error instanceof TaskFailedError) {
      // Send only what the client may know.
      sendJson(response, 500, { error: error.failure.message });
    } else {
      sendJson(response, 503, { error: "not available, try again later" });
    }
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
