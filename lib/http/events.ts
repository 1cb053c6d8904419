import { catchError, map, of, skipWhile } from "rxjs";
import type { GroupBackend, GroupProgress, ResultBackend } from "../result-backend";
import { isBackendClosed, isTaskFailed, isWaitTimeout } from "../errors";
import { asJsonText } from "../value/decoding";
import { eventResponse, type EventStreamOptions, formatEvent } from "./event-stream";
import { type FailureOptions, problemOfId, problemResponse, toProblem } from "./respond";

export interface StreamErrorOptions {
  /**
   * Called with the unexpected error that ended a stream, such as a `DatabaseError`. Default: only the client is told
   * that there was an error.
   */
  readonly onError?: (error: unknown) => void;
}

export interface SseResultOptions extends EventStreamOptions, FailureOptions, StreamErrorOptions {}

export interface SseGroupOptions extends EventStreamOptions, StreamErrorOptions {}

/** The id of the event that holds a task's outcome. */
const settledId = "settled";
/** The beginning of the ids of a group's last event. */
const endedPrefix = "ended";

/**
 * Creates a response that streams the outcome of a task as server-sent events:
 *
 * - `result`: the result as JSON;
 * - `failure`: the task failed; the data is the {@link Problem} of `respond`, without the error unless `showErrors` is
 *   set;
 * - `problem`: the stream ended early; the data is a {@link Problem}, with the code `BACKEND_CLOSED` if the server
 *   shuts down. An `EventSource` then reconnects.
 *
 * The stream ends after `result` or `failure`, and an `EventSource` that reconnects is told to stop with 204. An
 * invalid id is answered with 400. `sseResult` does not check whether the client may see the result; check that first.
 */
export function sseResult(
  backend: Pick<ResultBackend, "result$">,
  taskId: string,
  options: SseResultOptions = {},
): Response {
  const badId = problemOfId(taskId, "taskId");
  if (badId !== undefined) return problemResponse(badId);
  const toEvent = (error: unknown): string =>
    isTaskFailed(error) ? formatEvent("failure", toProblem(error, options), settledId) : problemEvent(error, options);
  return eventResponse((lastEventId) => {
    if (lastEventId === settledId) return undefined;
    return backend.result$(taskId, { schema: asJsonText }).pipe(
      map((value) => formatEvent("result", value, settledId)),
      catchError((error: unknown) => of(toEvent(error))),
    );
  }, options);
}

/**
 * Creates a response that streams the progress of a group as server-sent events:
 *
 * - `progress`: the current `GroupProgress`, then one at each change. A slow client receives only the latest;
 * - `done`: the same data, once all members have finished. The stream ends;
 * - `expired`: the group's deadline has passed; the data is a {@link Problem}. The stream ends;
 * - `problem`: the stream ended early; the data is a {@link Problem}, with the code `BACKEND_CLOSED` if the server
 *   shuts down. An `EventSource` then reconnects.
 *
 * A client that reconnects does not receive the state it received last, and is told to stop with 204 after the last
 * event. Nothing is sent for an unknown group until it is created. An invalid id is answered with 400. `sseGroup` does
 * not check whether the client may see the group; check that first.
 */
export function sseGroup(
  backend: Pick<GroupBackend, "group$">,
  groupId: string,
  options: SseGroupOptions = {},
): Response {
  const badId = problemOfId(groupId, "groupId");
  if (badId !== undefined) return problemResponse(badId);
  const toEvent = (error: unknown): string =>
    isWaitTimeout(error) ? formatEvent("expired", toProblem(error), endedPrefix) : problemEvent(error, options);
  return eventResponse((lastEventId) => {
    if (lastEventId?.startsWith(endedPrefix) === true) return undefined;
    return backend.group$(groupId).pipe(
      skipWhile((progress) => idOf(progress) === lastEventId),
      map((progress) => formatEvent(progress.done ? "done" : "progress", progress, idOf(progress))),
      catchError((error: unknown) => of(toEvent(error))),
    );
  }, options);
}

/** Identifies a state of a group. Counts only rise or move from failed to completed, so no state occurs twice. */
function idOf({ completed, failed, total, done }: GroupProgress): string {
  const counts = `${completed}-${failed}-${total ?? "unknown"}`;
  return done ? `${endedPrefix}-${counts}` : counts;
}

/** The last event of a stream that ended early. It has no id, so the client resumes after the event before it. */
function problemEvent(error: unknown, { onError }: StreamErrorOptions): string {
  // Not a 503 instead of a stream, even if the error is known at once: an `EventSource` gives up at any status but 200.
  if (!isBackendClosed(error)) onError?.(error);
  return formatEvent("problem", toProblem(error));
}
