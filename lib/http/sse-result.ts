import { catchError, map, of } from "rxjs";
import { isTaskFailed } from "../value/foreign";
import type { ResultBackend } from "../result-backend";
import { asJsonText } from "../value/json-text";
import { endedResponse, eventResponse, type EventStreamOptions, formatEvent } from "./event-stream";
import { type FailureOptions, problemOfId, problemResponse, toProblem } from "./problem";
import { lastEventIdOf } from "./request";
import { problemEvent, type StreamErrorOptions } from "./stream-error";

export interface SseResultOptions extends EventStreamOptions, FailureOptions, StreamErrorOptions {}

/** The id of the only event that a client may see twice. */
const seenId = "settled";

/**
 * A response that streams, as server-sent events, what becomes of a task:
 *
 * - `result`, whose data is the result as JSON;
 * - `failure`, if the task failed: the {@link Problem} that `respond` answers with, without a word of the error unless `showErrors` is set;
 * - `problem`, if waiting has ended otherwise: a {@link Problem}, with the code `BACKEND_CLOSED` while the server shuts down. An `EventSource` then connects again.
 *
 * After `result` or `failure` the stream ends, and an `EventSource` that connects again is told to stop, by a 204. An id that no task can have is answered with 400.
 * It does not ask who may see a result: check that before.
 */
export function sseResult(
  backend: Pick<ResultBackend, "result$">,
  taskId: string,
  options: SseResultOptions = {},
): Response {
  const badId = problemOfId(taskId, "taskId");
  if (badId !== undefined) return problemResponse(badId);
  if (lastEventIdOf(options) === seenId) return endedResponse();
  const events$ = backend.result$(taskId, { schema: asJsonText }).pipe(
    map((value) => formatEvent("result", value, seenId)),
    catchError((error: unknown) =>
      of(
        isTaskFailed(error) ? formatEvent("failure", toProblem(error, options), seenId) : problemEvent(error, options),
      ),
    ),
  );
  return eventResponse(events$, options);
}
