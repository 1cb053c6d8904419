import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * `pass`: forwards everything. `blackhole`: accepts connections and drops what is sent, as a lost route does. `refuse`:
 * closes each new connection at once.
 */
export type ProxyMode = "pass" | "blackhole" | "refuse";

/** A path to a server that can be broken. */
export class TcpProxy {
  mode: ProxyMode = "pass";
  /** Delay of each chunk in both directions, in milliseconds. */
  delayMs = 0;
  /** Rate of each connection in each direction. */
  bytesPerSecond = Infinity;
  /** Bytes that the server sends, together with ReadyForQuery, before its connection ends; undefined for none. */
  lastWords: Uint8Array | undefined;
  /**
   * Bytes that the mode `refuse` sends to each new connection in the server's name after the startup message;
   * undefined: it closes without a word.
   */
  refusal: Uint8Array | undefined;
  /** Rewrites the server's answers. */
  rewrite: ((chunk: Buffer) => Buffer) | undefined;
  /** Times of attempted connections, on the clock of `performance.now()`. */
  readonly attempts: number[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #clients = new Set<Socket>();
  readonly #upstreams = new Set<Socket>();
  /** Connections that stay open and carry nothing any more. */
  readonly #stranded = new WeakSet<Socket>();
  /** Clients that get no more answers. */
  readonly #unanswered = new WeakSet<Socket>();
  /** Ends of connections whose bytes are held back, with those bytes in order. */
  readonly #held = new Map<Socket, (() => void)[]>();
  #target: { host: string; port: number };

  private constructor(target: { host: string; port: number }) {
    this.#target = target;
    // Half open: otherwise the proxy would answer a FIN that a dead peer would not, and hide the fault.
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  static async start(url: string): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetOf(url));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  /** The same address by way of the proxy. */
  route(url: string): string {
    const routed = new URL(url);
    routed.hostname = "127.0.0.1";
    routed.port = String((this.#server.address() as AddressInfo).port);
    return routed.href;
  }

  /** Leads new connections to another server, as a changed DNS name does. Open connections stay where they are. */
  retarget(url: string): void {
    this.#target = targetOf(url);
  }

  /** Sends bytes to every client in the server's name. */
  inject(bytes: Uint8Array): void {
    for (const socket of this.#clients) socket.write(bytes);
  }

  /**
   * Sends bytes to the server in the name of every client, as a pooler does between two of them. Clients get the answer
   * unless {@link TcpProxy.rewrite} removes it.
   */
  injectUpstream(bytes: Uint8Array): void {
    for (const socket of this.#upstreams) socket.write(bytes);
  }

  /**
   * From now on, open connections carry nothing and neither end is told, as when a router forgets them. New connections
   * work.
   */
  strand(): void {
    for (const socket of this.#sockets) this.#stranded.add(socket);
  }

  /**
   * From now on, bytes from clients on open connections are held back, even after the clients have ended. New
   * connections work.
   */
  hold(): void {
    for (const socket of this.#clients) this.#held.set(socket, []);
  }

  /** From now on, the server's answers on open connections are lost. New connections work. */
  loseAnswers(): void {
    for (const socket of this.#clients) this.#unanswered.add(socket);
  }

  /** From now on, the server's answers on open connections are held back. New connections work. */
  holdAnswers(): void {
    for (const socket of this.#upstreams) this.#held.set(socket, []);
  }

  /** How often bytes have been held back. */
  get heldBack(): number {
    return [...this.#held.values()].reduce((count, forwards) => count + forwards.length, 0);
  }

  /** Forwards what was held back, as when delayed packets arrive at last. */
  releaseHeld(): void {
    for (const forwards of this.#held.values()) for (const forward of forwards) forward();
    this.#held.clear();
  }

  /** Resets every open connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(client: Socket): void {
    this.attempts.push(performance.now());
    this.#track(client);
    if (this.mode === "refuse") {
      const { refusal } = this;
      if (refusal === undefined) client.resetAndDestroy();
      else client.once("data", () => client.end(refusal));
      return;
    }
    this.#clients.add(client);
    client.on("close", () => this.#clients.delete(client));
    const upstream = connect({ ...this.#target, allowHalfOpen: true });
    this.#track(upstream);
    this.#upstreams.add(upstream);
    upstream.on("close", () => this.#upstreams.delete(upstream));
    this.#carry(client, upstream);
    this.#carry(upstream, client, (chunk) => this.#withLastWords(this.rewrite?.(chunk) ?? chunk));
  }

  #withLastWords(chunk: Buffer): Buffer {
    return this.lastWords !== undefined && chunk.subarray(-6).equals(readyForQuery)
      ? Buffer.concat([chunk, this.lastWords])
      : chunk;
  }

  #carry(from: Socket, to: Socket, change = (chunk: Buffer): Buffer => chunk): void {
    // Keeps the order when the delay is shortened meanwhile.
    const late: (() => void)[] = [];
    let freeAt = 0;
    const pass = (forward: () => void, bytes = 0): void => {
      const held = this.#held.get(from);
      if (held !== undefined) {
        held.push(() => {
          if (!to.destroyed) forward();
        });
        return;
      }
      const carry = (): void => {
        if (this.mode === "pass" && !to.destroyed) forward();
      };
      freeAt = Math.max(freeAt, performance.now()) + (bytes / this.bytesPerSecond) * 1_000;
      const transferMs = this.bytesPerSecond === Infinity ? 0 : freeAt - performance.now();
      if (this.delayMs + transferMs === 0 && late.length === 0) {
        carry();
        return;
      }
      late.push(carry);
      setTimeout(() => late.shift()?.(), this.delayMs + transferMs);
    };
    from.on("data", (chunk) => {
      if (!this.#stranded.has(from) && !this.#unanswered.has(to)) pass(() => to.write(change(chunk)), chunk.length);
    });
    from.on("end", () => {
      if (!this.#stranded.has(from)) pass(() => to.end());
      // The other end has given up. Without an answer this end would stay half open, and so would the other.
      else from.destroy();
    });
    from.on("close", () => pass(() => to.destroy()));
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
  }
}

/** The message ErrorResponse (PostgreSQL docs, "Message Formats"). */
export function errorResponse(severity: string, code: string, message: string): Uint8Array {
  const fields = Buffer.from(`S${severity}\0C${code}\0M${message}\0\0`);
  const head = Buffer.from([0x45, 0, 0, 0, 0]);
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

/** The message ReadyForQuery, outside a transaction (PostgreSQL docs, "Message Formats"). */
const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

function targetOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port === "" ? 5432 : port) };
}
