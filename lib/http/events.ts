import { catchError, fromEvent, map, NEVER, type Observable, of, skipWhile, Subscription, takeUntil } from "rxjs";
import { isBackendClosed, isTaskFailed, isWaitTimeout } from "../errors";
import type { GroupBackend, GroupProgress, ResultBackend } from "../result-backend";
import { checkDurationMs, longestTimerMs } from "../value/arguments";
import { asJsonText } from "../value/decoding";
import { stringifyExactly } from "../value/json-text";
import { type FailureOptions, problemOfId, problemResponse, type RequestOptions, signalOf, toProblem } from "./respond";
import { headerOf, type HttpHeaders } from "./send-response";

export interface EventStreamOptions extends RequestOptions {
  /**
   * Longest time without an event before a comment is sent, which keeps proxies from closing the connection, in
   * milliseconds. 1 or more; `Infinity` sends none. Default 15 000.
   */
  readonly heartbeatMs?: number;
  /** Delay before a client that lost its connection reconnects, in milliseconds. Default 3 000. */
  readonly retryMs?: number;
}

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

/** Formats one server-sent event. A client that reconnects reports the `id` of the last event it received. */
export function formatEvent(event: string, data: unknown, id?: string): string {
  // JSON contains no line breaks, so one line of data is enough.
  return `event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${stringifyExactly(data) ?? "null"}\n\n`;
}

/**
 * Creates a response that streams events. A slow client receives only the latest one, so each event must be complete by
 * itself. Nothing is subscribed to before the body is read; cancelling the body unsubscribes.
 *
 * @param follow - Creates the stream for a client, from the id of the last event that it received; undefined if there
 *   is nothing to follow that event.
 * @param heartbeat - Default: a comment, which scripts of a page cannot see.
 */
export function eventResponse(
  follow: (lastEventId: string | undefined) => Observable<string> | undefined,
  options: EventStreamOptions,
  heartbeat = ": heartbeat\n\n",
): Response {
  const { heartbeatMs = 15_000, retryMs = 3_000, request } = options;
  checkDurationMs(heartbeatMs, "heartbeatMs", { min: 1, infinite: true });
  checkDurationMs(retryMs, "retryMs");
  const events$ = follow(request === undefined ? undefined : lastEventIdOf(request.headers));
  // 204 tells an `EventSource` not to reconnect (HTML standard, server-sent events).
  if (events$ === undefined) return new Response(null, { status: 204, headers: { "Cache-Control": "no-store" } });
  const texts = { greeting: `retry: ${Math.ceil(retryMs)}\n\n`, heartbeat, heartbeatMs };
  const body = new EventBody(events$.pipe(takeUntil(abort$(signalOf(options)))), texts);
  // No read-ahead: an event in a buffer may be outdated when it is sent.
  return new Response(new ReadableStream<Uint8Array>(body, { highWaterMark: 0 }), {
    headers: {
      "Content-Type": "text/event-stream",
      // A transformation such as compression would delay events.
      "Cache-Control": "no-store, no-transform",
      // Stops nginx from buffering (nginx docs, proxy_buffering).
      "X-Accel-Buffering": "no",
    },
  });
}

function lastEventIdOf(headers: HttpHeaders): string | undefined {
  const value = headerOf(headers, "last-event-id");
  return value === "" ? undefined : value;
}

function abort$(signal: AbortSignal | undefined): Observable<unknown> {
  if (signal === undefined) return NEVER;
  return signal.aborted ? of(undefined) : fromEvent(signal, "abort");
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

interface FixedTexts {
  readonly greeting: string;
  readonly heartbeat: string;
  readonly heartbeatMs: number;
}

/** Writes events as fast as the client reads them, and keeps at most one that is not sent yet. */
class EventBody {
  readonly #events$: Observable<string>;
  readonly #texts: FixedTexts;
  readonly #encoder = new TextEncoder();
  readonly #subscription = new Subscription();
  #timer: NodeJS.Timeout | undefined;
  #hasBegun = false;
  #canSend = false;
  #pending: string | undefined;

  constructor(events$: Observable<string>, texts: FixedTexts) {
    this.#events$ = events$;
    this.#texts = texts;
  }

  /** Called when the client can take more. */
  pull(controller: Controller): void {
    this.#canSend = true;
    if (this.#hasBegun) this.#flush(controller);
    else this.#begin(controller);
  }

  cancel(): void {
    this.#subscription.unsubscribe();
  }

  #begin(controller: Controller): void {
    const { greeting, heartbeat, heartbeatMs } = this.#texts;
    this.#hasBegun = true;
    // Before any event, so that the headers are sent at once.
    this.#send(controller, greeting);
    if (heartbeatMs <= longestTimerMs) {
      this.#timer = setInterval(() => this.#canSend && this.#send(controller, heartbeat), heartbeatMs);
      this.#subscription.add(() => clearInterval(this.#timer));
    }
    const events = this.#events$.subscribe({
      next: (event) => {
        this.#pending = event;
        this.#flush(controller);
      },
      error: (error: unknown) => {
        this.#subscription.unsubscribe();
        controller.error(error);
      },
      complete: () => {
        this.#subscription.unsubscribe();
        this.#flush(controller);
      },
    });
    this.#subscription.add(events);
  }

  #flush(controller: Controller): void {
    const event = this.#pending;
    const hasEnded = this.#subscription.closed;
    if (event === undefined && hasEnded) controller.close();
    if (event === undefined || !this.#canSend) return;
    this.#pending = undefined;
    if (!hasEnded) this.#timer?.refresh();
    this.#send(controller, event);
  }

  #send(controller: Controller, text: string): void {
    // Before the text is passed on: if the client already asks for more, `enqueue` calls `pull`.
    this.#canSend = false;
    controller.enqueue(this.#encoder.encode(text));
  }
}
