import { fromEvent, NEVER, type Observable, of, Subject, Subscription, takeUntil } from "rxjs";
import { checkDurationMs, longestTimerMs, typeName } from "../value/arguments";
import { stringifyExactly } from "../value/json-text";
import { type RequestOptions, signalOf } from "./respond";
import { headerOf } from "./send-response";

export interface EventStreamOptions extends RequestOptions {
  /**
   * Longest time without an event before a comment is sent, which keeps proxies from closing the connection, in
   * milliseconds. 1 or more; `Infinity` sends none. Default 15 000.
   */
  readonly heartbeatMs?: number;
  /** Delay before a client that lost its connection reconnects, in milliseconds. Default 3 000. */
  readonly retryMs?: number;
  /**
   * Id of the last event that the client has kept, for a page that was loaded again: the first request of an
   * `EventSource` has no `Last-Event-ID`. If the request has one, that is used instead. Default: none.
   */
  readonly lastEventId?: string | null | undefined;
}

/** A server-sent event. */
export interface StreamEvent {
  readonly text: string;
  /** Identifies the place in the stream after this event. */
  readonly id: string | undefined;
}

/**
 * Creates the stream of events after an id, or from the beginning; returns undefined if nothing follows. Only the last
 * event of a stream may be without an id.
 */
export type FollowEvents = (lastEventId: string | undefined) => Observable<StreamEvent> | undefined;

/** How events are written. */
export interface EventStyle {
  /** Default: a comment, which scripts of a page cannot see. */
  readonly heartbeat?: string;
  /**
   * `latest`: a slow client receives only the latest event, so each must be complete by itself. `all`: it receives
   * every event. If too many wait for it, the stream is left, and followed again from there later. Default `latest`.
   */
  readonly delivery?: "latest" | "all";
}

/** Longest text that waits for a slow client, beside the last event. */
const maxPendingLength = 256 * 1024;

/** Formats one server-sent event. A client that reconnects reports the `id` of the last event it received. */
export function formatEvent(event: string, data: unknown, id?: string): StreamEvent {
  // JSON contains no line breaks, so one line of data is enough.
  const line = id === undefined ? "" : `id: ${id}\n`;
  return { id, text: `event: ${event}\n${line}data: ${stringifyExactly(data) ?? "null"}\n\n` };
}

/**
 * Creates a response that streams events. Nothing is subscribed to before the body is read; cancelling the body
 * unsubscribes.
 */
export function eventResponse(follow: FollowEvents, options: EventStreamOptions, style: EventStyle = {}): Response {
  const { heartbeatMs = 15_000, retryMs = 3_000 } = options;
  checkDurationMs(heartbeatMs, "heartbeatMs", { min: 1, infinite: true });
  checkDurationMs(retryMs, "retryMs");
  const body = new EventBody(follow, lastEventIdOf(options), { ...style, heartbeatMs, retryMs }, signalOf(options));
  // 204 tells an `EventSource` not to reconnect (HTML standard, server-sent events).
  if (body.isOver) return new Response(null, { status: 204, headers: { "Cache-Control": "no-store" } });
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

function lastEventIdOf({ request, lastEventId }: EventStreamOptions): string | undefined {
  const kept: unknown = lastEventId ?? "";
  if (typeof kept !== "string") throw new TypeError(`lastEventId: expected a string, got ${typeName(kept)}.`);
  const id = (request && headerOf(request.headers, "last-event-id")) || kept;
  return id === "" ? undefined : id;
}

function abort$(signal: AbortSignal | undefined): Observable<unknown> {
  if (signal === undefined) return NEVER;
  return signal.aborted ? of(undefined) : fromEvent(signal, "abort");
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

interface BodyStyle extends EventStyle {
  readonly heartbeatMs: number;
  readonly retryMs: number;
}

/** Writes events as fast as the client reads them, and keeps a bounded length of those that are not sent yet. */
class EventBody {
  readonly #follow: FollowEvents;
  readonly #style: BodyStyle;
  readonly #signal: AbortSignal | undefined;
  readonly #encoder = new TextEncoder();
  readonly #subscription = new Subscription();
  /** Ends the subscription to the events, but not the body. */
  readonly #left$ = new Subject<void>();
  #events$: Observable<StreamEvent> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #hasBegun = false;
  #canSend = false;
  #pending = "";
  #lastId: string | undefined;
  #hasLeft = false;

  constructor(
    follow: FollowEvents,
    lastEventId: string | undefined,
    style: BodyStyle,
    signal: AbortSignal | undefined,
  ) {
    this.#follow = follow;
    this.#style = style;
    this.#signal = signal;
    this.#events$ = follow(lastEventId);
  }

  /** True if nothing follows the last event that the client received. */
  get isOver(): boolean {
    return this.#events$ === undefined;
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
    const { retryMs, heartbeat = ": heartbeat\n\n", heartbeatMs } = this.#style;
    this.#hasBegun = true;
    // Before any event, so that the headers are sent at once.
    this.#send(controller, `retry: ${Math.ceil(retryMs)}\n\n`);
    if (heartbeatMs <= longestTimerMs) {
      this.#timer = setInterval(() => this.#canSend && this.#send(controller, heartbeat), heartbeatMs);
      this.#subscription.add(() => clearInterval(this.#timer));
    }
    this.#subscription.add(abort$(this.#signal).subscribe(() => this.#end(controller)));
    this.#subscribe(controller);
  }

  #subscribe(controller: Controller): void {
    this.#hasLeft = false;
    if (this.#subscription.closed) return;
    if (this.#events$ === undefined) {
      this.#end(controller);
      return;
    }
    const events = this.#events$.pipe(takeUntil(this.#left$)).subscribe({
      next: (event) => this.#take(controller, event),
      error: (error: unknown) => {
        this.#subscription.unsubscribe();
        controller.error(error);
      },
      complete: () => {
        if (!this.#hasLeft) this.#end(controller);
      },
    });
    this.#subscription.add(events);
  }

  #take(controller: Controller, { text, id }: StreamEvent): void {
    this.#pending = this.#style.delivery === "all" ? this.#pending + text : text;
    this.#lastId = id;
    if (this.#pending.length > maxPendingLength && this.#style.delivery === "all" && id !== undefined) {
      this.#hasLeft = true;
      this.#left$.next();
    }
    this.#flush(controller);
  }

  #end(controller: Controller): void {
    this.#subscription.unsubscribe();
    this.#flush(controller);
  }

  #flush(controller: Controller): void {
    const text = this.#pending;
    const hasEnded = this.#subscription.closed;
    if (text === "" && hasEnded) controller.close();
    if (text === "" || !this.#canSend) return;
    this.#pending = "";
    if (!hasEnded) this.#timer?.refresh();
    this.#send(controller, text);
    if (!this.#hasLeft) return;
    this.#events$ = this.#follow(this.#lastId);
    this.#subscribe(controller);
  }

  #send(controller: Controller, text: string): void {
    // Before the text is passed on: if the client already asks for more, `enqueue` calls `pull`.
    this.#canSend = false;
    controller.enqueue(this.#encoder.encode(text));
  }
}
