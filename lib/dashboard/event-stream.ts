import type { ServerResponse } from "node:http";

/** What a client is told: all there is to know, so that each one takes the place of those before it. */
export interface Frame {
  readonly id: string;
  readonly data: string;
}

export interface EventStreamTimes {
  /** Between two signs of life, in milliseconds. */
  readonly heartbeatMs: number;
  /** How long a client may take nothing before it is dropped, in milliseconds. */
  readonly stallMs: number;
}

/** How long a browser waits before it connects again, in milliseconds. */
const retryMs = 1_000;

/**
 * One client, told by server-sent events (HTML standard, "Server-sent events"). A slow one misses frames, and gets the latest once it has taken what it was sent;
 * one that takes nothing is dropped. So a client costs one frame at the most.
 */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #stallMs: number;
  readonly #heartbeat: NodeJS.Timeout;
  #stall: NodeJS.Timeout | undefined;
  #missed: Frame | undefined;

  constructor(response: ServerResponse, { heartbeatMs, stallMs }: EventStreamTimes) {
    this.#response = response;
    this.#stallMs = stallMs;
    response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no" });
    // A client that has gone without a word is found by the system.
    response.socket?.setKeepAlive(true, heartbeatMs);
    response.on("drain", () => this.#onDrain());
    response.on("close", () => this.#clear());
    response.on("error", () => undefined);
    this.#write(`retry: ${retryMs}\n\n`);
    // An event, and not a comment: scripts do not see those, and the page is to notice when they stay away.
    this.#heartbeat = setInterval(() => {
      if (this.#stall === undefined) this.#write("event: heartbeat\ndata\n\n");
    }, heartbeatMs);
  }

  send(frame: Frame): void {
    if (this.#stall !== undefined) this.#missed = frame;
    else this.#write(`id: ${frame.id}\nevent: state\ndata: ${frame.data}\n\n`);
  }

  #write(text: string): void {
    if (this.#response.destroyed || this.#response.write(text)) return;
    this.#stall ??= setTimeout(() => this.#response.destroy(), this.#stallMs);
  }

  #onDrain(): void {
    clearTimeout(this.#stall);
    this.#stall = undefined;
    const missed = this.#missed;
    this.#missed = undefined;
    if (missed !== undefined) this.send(missed);
  }

  #clear(): void {
    clearInterval(this.#heartbeat);
    clearTimeout(this.#stall);
    this.#missed = undefined;
  }
}
