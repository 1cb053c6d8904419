import { type Observable, Subscription } from "rxjs";
import { checkDurationMs, longestTimerMs } from "../value/arguments";
import { stringifyExactly } from "../value/json-text";
import { type RequestOptions, signalOf } from "./request";

export interface EventStreamOptions extends RequestOptions {
  /** How long nothing may be sent before a comment is, which keeps proxies from cutting the connection, in milliseconds. 1 or more; `Infinity` sends none. Default 15 000. */
  readonly heartbeatMs?: number;
  /** How long a client whose connection was lost waits before it connects again, in milliseconds. Default 3 000. */
  readonly retryMs?: number;
}

/** One event as it is sent. With an `id` the client can tell after a reconnect that it has seen it. */
export function formatEvent(event: string, data: unknown, id?: string): string {
  // JSON has no line breaks, so one line of data is enough.
  return `event: ${event}\n${id === undefined ? "" : `id: ${id}\n`}data: ${stringifyExactly(data) ?? "null"}\n\n`;
}

/**
 * A response that streams events. Each has to stand for itself, since a client that reads slowly gets the latest only. Nothing is subscribed to before the body is
 * read, and everything is let go of when it is cancelled.
 */
export function eventResponse(events$: Observable<string>, options: EventStreamOptions): Response {
  const { heartbeatMs = 15_000, retryMs = 3_000 } = options;
  checkDurationMs(heartbeatMs, "heartbeatMs", { min: 1, infinite: true });
  checkDurationMs(retryMs, "retryMs");
  const body = new EventBody(events$, { heartbeatMs, retryMs: Math.ceil(retryMs), signal: signalOf(options) });
  // Nothing is made ahead of its being read: what lies in a buffer grows old.
  return new Response(new ReadableStream<Uint8Array>(body, { highWaterMark: 0 }), {
    headers: {
      "Content-Type": "text/event-stream",
      // A transformation, such as compression, would hold events back.
      "Cache-Control": "no-store, no-transform",
      // nginx holds back what it proxies unless told otherwise (its manual, proxy_buffering).
      "X-Accel-Buffering": "no",
    },
  });
}

/** To a client that connects again after its last event: 204 tells an `EventSource` not to come back (HTML standard, server-sent events). */
export const endedResponse = (): Response =>
  new Response(null, { status: 204, headers: { "Cache-Control": "no-store" } });

interface BodyOptions {
  readonly heartbeatMs: number;
  readonly retryMs: number;
  readonly signal: AbortSignal | undefined;
}

/** The source of the body. Holds one event at the most, whatever the client's pace. */
class EventBody {
  readonly #events$: Observable<string>;
  readonly #options: BodyOptions;
  readonly #encoder = new TextEncoder();
  readonly #work = new Subscription();
  #heartbeat: NodeJS.Timeout | undefined;
  #hasBegun = false;
  #hasEnded = false;
  #isReading = false;
  #latest: string | undefined;

  constructor(events$: Observable<string>, options: BodyOptions) {
    this.#events$ = events$;
    this.#options = options;
  }

  /** Called while somebody reads and there is nothing yet to be read. */
  pull(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#isReading = true;
    if (this.#hasBegun) this.#flush(controller);
    else this.#begin(controller);
  }

  cancel(): void {
    this.#work.unsubscribe();
  }

  #begin(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#hasBegun = true;
    const { signal, heartbeatMs, retryMs } = this.#options;
    // At once, so that the headers leave too.
    this.#send(controller, `retry: ${retryMs}\n\n`);
    const end = (): void => {
      this.#hasEnded = true;
      this.#flush(controller);
    };
    const abort = (): void => {
      this.#latest = undefined;
      end();
    };
    if (signal?.aborted === true) {
      abort();
      return;
    }
    signal?.addEventListener("abort", abort);
    this.#work.add(() => signal?.removeEventListener("abort", abort));
    if (heartbeatMs <= longestTimerMs) {
      const beat = (): void => {
        if (this.#isReading) this.#send(controller, ": heartbeat\n\n");
      };
      this.#heartbeat = setInterval(beat, heartbeatMs);
      this.#work.add(() => clearInterval(this.#heartbeat));
    }
    const next = (event: string): void => {
      this.#latest = event;
      this.#flush(controller);
    };
    const error = (reason: unknown): void => {
      this.#work.unsubscribe();
      controller.error(reason);
    };
    this.#work.add(this.#events$.subscribe({ next, error, complete: end }));
  }

  #flush(controller: ReadableStreamDefaultController<Uint8Array>): void {
    if (this.#work.closed) return;
    if (this.#latest !== undefined && this.#isReading) {
      const event = this.#latest;
      this.#latest = undefined;
      this.#heartbeat?.refresh();
      this.#send(controller, event);
    }
    if (!this.#hasEnded || this.#latest !== undefined) return;
    this.#work.unsubscribe();
    controller.close();
  }

  #send(controller: ReadableStreamDefaultController<Uint8Array>, text: string): void {
    // Before it is given: with another read waiting, that calls `pull` again.
    this.#isReading = false;
    controller.enqueue(this.#encoder.encode(text));
  }
}
