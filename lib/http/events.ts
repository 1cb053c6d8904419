import { catchError, concat, map, type Observable, of, skipWhile } from "rxjs";
import { maxAttempt } from "../chunks/chunk-rules";
import { isBackendClosed, isTaskFailed, isWaitTimeout } from "../errors";
import type { Chunk, ChunkBackend, ChunkPosition, GroupBackend, GroupProgress, ResultBackend } from "../result-backend";
import { checkOptions, type OptionNames } from "../value/arguments";
import { asJsonText } from "../value/decoding";
import type { JsonText } from "../value/json-text";
import { eventResponse, type EventStreamOptions, type EventStyle, formatEvent, type StreamEvent } from "./event-stream";
import { type FailureOptions, problemOfId, problemResponse, toProblem } from "./respond";

export interface StreamErrorOptions {
  /**
   * Called with the unexpected error that ended a stream, such as a `DatabaseError`. Default: only the client is told
   * that there was an error.
   */
  readonly onError?: (error: unknown) => void;
}

export interface SseResultOptions extends EventStreamOptions, FailureOptions, StreamErrorOptions {}

export type SseTaskOptions = SseResultOptions;

export interface SseGroupOptions extends EventStreamOptions, StreamErrorOptions {}

const groupNames: OptionNames<SseGroupOptions> = {
  request: true,
  signal: true,
  lastEventId: true,
  heartbeatMs: true,
  retryMs: true,
  onError: true,
};
const taskNames: OptionNames<SseTaskOptions> = { ...groupNames, showErrors: true };

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
  return taskResponse(taskId, options, () => resultEvent$(backend, taskId));
}

/**
 * Creates a response that streams a running task as server-sent events:
 *
 * - `chunk`: the value of a chunk as JSON. All chunks are sent in order, first those that are stored;
 * - `restart`: the task was started again; the data is `{ attempt }`. Discard the chunks before it;
 * - `result`, `failure` and `problem` as in {@link sseResult}.
 *
 * The id of an event names the attempt and the number of a chunk, so a client that reconnects goes on after the last
 * event that it received. If the task was started again since then, it receives `restart` and the chunks of the new
 * attempt. A client that reads slowly delays no other, and about 256 KiB wait for it. `sseTask` does not check whether
 * the client may see the task; check that first.
 */
export function sseTask(
  backend: Pick<ResultBackend, "result$"> & Pick<ChunkBackend, "chunks$">,
  taskId: string,
  options: SseTaskOptions = {},
): Response {
  const follow = (lastEventId: string | undefined): Observable<StreamEvent> => {
    const chunks$ = backend.chunks$(taskId, { after: positionOf(lastEventId), schema: asJsonText });
    return concat(chunks$.pipe(map(chunkEvent)), resultEvent$(backend, taskId));
  };
  return taskResponse(taskId, options, follow, { delivery: "all" });
}

/** Streams the events of a task that `follow` gives, and its failure, unless the client has received the last event. */
function taskResponse(
  taskId: string,
  options: SseTaskOptions,
  follow: (lastEventId: string | undefined) => Observable<StreamEvent>,
  style?: EventStyle,
): Response {
  checkOptions(options, taskNames);
  const badId = problemOfId(taskId, "taskId");
  if (badId !== undefined) return problemResponse(badId);
  const open = (lastEventId: string | undefined): Observable<StreamEvent> | undefined => {
    if (lastEventId === settledId) return undefined;
    return follow(lastEventId).pipe(catchError((error: unknown) => of(outcomeEvent(error, options))));
  };
  return eventResponse(open, options, style);
}

const resultEvent$ = (backend: Pick<ResultBackend, "result$">, taskId: string): Observable<StreamEvent> =>
  backend.result$(taskId, { schema: asJsonText }).pipe(map((value) => formatEvent("result", value, settledId)));

function outcomeEvent(error: unknown, options: SseResultOptions): StreamEvent {
  return isTaskFailed(error)
    ? formatEvent("failure", toProblem(error, options), settledId)
    : problemEvent(error, options);
}

function chunkEvent(chunk: Chunk<JsonText>): StreamEvent {
  const { attempt, sequence } = chunk;
  const id = `${attempt}-${sequence}`;
  return chunk.kind === "restart" ? formatEvent("restart", { attempt }, id) : formatEvent("chunk", chunk.value, id);
}

/** Returns the place that an event id names; the beginning for any other text. */
function positionOf(lastEventId = ""): ChunkPosition | number {
  const [, attempt, sequence] = (/^(\d{1,10})-(\d{1,16})$/.exec(lastEventId) ?? []).map(Number);
  const isPlace = attempt !== undefined && sequence !== undefined && attempt >= 1 && attempt <= maxAttempt;
  return isPlace && Number.isSafeInteger(sequence) ? { attempt, sequence } : 0;
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
  checkOptions(options, groupNames);
  const badId = problemOfId(groupId, "groupId");
  if (badId !== undefined) return problemResponse(badId);
  const toEvent = (error: unknown): StreamEvent =>
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
function problemEvent(error: unknown, { onError }: StreamErrorOptions): StreamEvent {
  // Not a 503 instead of a stream, even if the error is known at once: an `EventSource` gives up at any status but 200.
  if (!isBackendClosed(error)) onError?.(error);
  return formatEvent("problem", toProblem(error));
}
