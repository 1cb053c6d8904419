import { fromEvent, NEVER, type Observable, of, Subscription, takeUntil } from "rxjs";
import { checkDurationMs, longestTimerMs } from "../value/arguments";
import { stringifyExactly } from "../value/json-text";
import { type RequestOptions, signalOf } from "./respond";
import type { HttpHeaders } from "./send-response";

export interface EventStreamOptions extends RequestOptions {
  /**
   * Longest time without an event before a comment is sent, which keeps proxies from closing the connection, in
   * milliseconds. 1 or more; `Infinity` sends none. Default 15 000.
   */
  readonly heartbeatMs?: number;
  /** Delay before a client that lost its connection reconnects, in milliseconds. Default 3 000. */
  readonly retryMs?: number;
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
  const greeting = `retry: ${Math.ceil(retryMs)}\n\n`;
  const body = new EventBody(events$.pipe(takeUntil(abort$(signalOf(options)))), greeting, { heartbeat, heartbeatMs });
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
  const value = isFetchHeaders(headers) ? headers.get("last-event-id") : headers["last-event-id"];
  return typeof value === "string" && value !== "" ? value : undefined;
}

const isFetchHeaders = (headers: HttpHeaders): headers is { get(name: string): string | null } =>
  typeof headers.get === "function";

function abort$(signal: AbortSignal | undefined): Observable<unknown> {
  if (signal === undefined) return NEVER;
  return signal.aborted ? of(undefined) : fromEvent(signal, "abort");
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

/** Writes events as fast as the client reads them, and keeps at most one that is not sent yet. */
class EventBody {
  readonly #events$: Observable<string>;
  readonly #greeting: string;
  readonly #heartbeat: { readonly heartbeat: string; readonly heartbeatMs: number };
  readonly #encoder = new TextEncoder();
  readonly #subscription = new Subscription();
  #timer: NodeJS.Timeout | undefined;
  #hasBegun = false;
  #hasEnded = false;
  #canSend = false;
  #pending: string | undefined;

  constructor(events$: Observable<string>, greeting: string, heartbeat: { heartbeat: string; heartbeatMs: number }) {
    this.#events$ = events$;
    this.#greeting = greeting;
    this.#heartbeat = heartbeat;
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
    this.#hasBegun = true;
    // Before any event, so that the headers are sent at once.
    this.#send(controller, this.#greeting);
    this.#startHeartbeat(controller);
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
        this.#hasEnded = true;
        this.#flush(controller);
      },
    });
    this.#subscription.add(events);
  }

  #startHeartbeat(controller: Controller): void {
    const { heartbeat, heartbeatMs } = this.#heartbeat;
    if (heartbeatMs > longestTimerMs) return;
    const beat = (): void => {
      if (this.#canSend) this.#send(controller, heartbeat);
    };
    this.#timer = setInterval(beat, heartbeatMs);
    this.#subscription.add(() => {
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
  }

  #flush(controller: Controller): void {
    const event = this.#pending;
    if (event === undefined && this.#hasEnded) controller.close();
    if (event === undefined || !this.#canSend) return;
    this.#pending = undefined;
    this.#timer?.refresh();
    this.#send(controller, event);
  }

  #send(controller: Controller, text: string): void {
    // Before the text is passed on: if the client already asks for more, `enqueue` calls `pull`.
    this.#canSend = false;
    controller.enqueue(this.#encoder.encode(text));
  }
}
