import { once } from "node:events";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import type { AddressInfo } from "node:net";

/** A response of `node:http` or `node:http2`, including Express' response and Fastify's `reply.raw`. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

/**
 * The parts of a request that this package reads. Fetch requests (Hono, Next), Express and Fastify requests, and the
 * `IncomingMessage` of `node:http` all fit.
 */
export interface HttpRequest {
  readonly url?: string | undefined;
  /** The URL before a router removed its mount path, as in Express and Fastify. */
  readonly originalUrl?: string | undefined;
  readonly headers: HttpHeaders;
  /** Aborts when the client disconnects. */
  readonly signal?: AbortSignal | undefined;
}

/** Fetch `Headers`, or the headers of `node:http`, whose names are lower case. */
export type HttpHeaders =
  { get(name: string): string | null } | Readonly<Record<string, string | readonly string[] | undefined>>;

/** Returns the value of a header, whose name is given in lower case; undefined if it is absent. */
export function headerOf(headers: HttpHeaders, name: string): string | undefined {
  const value = isFetchHeaders(headers) ? headers.get(name) : headers[name];
  return typeof value === "object" ? value?.join(",") : value;
}

const isFetchHeaders = (headers: HttpHeaders): headers is { get(name: string): string | null } =>
  typeof headers.get === "function";

/**
 * Sends a Fetch `Response` through `node:http`, at the speed of the client. If the client disconnects, the body is
 * cancelled. Headers that were set before stay, unless the response has a header of the same name.
 *
 * @param response - A response of `respond`, `sseResult`, `sseTask` or `sseGroup`, or a function that creates it from a
 *   request whose `signal` aborts when the client disconnects.
 * @returns Resolves when the response is sent or the client has disconnected. Rejects with the error of `response` or
 *   of its body; if the headers were sent by then, the connection is closed.
 */
export async function sendResponse(
  target: NodeResponse,
  response: Response | Promise<Response> | ((request: HttpRequest) => Response | Promise<Response>),
): Promise<void> {
  const client = target as ServerResponse;
  const disconnected = new AbortController();
  const abort = (): void => disconnected.abort();
  client.once("close", abort);
  if (isClosed(client)) abort();
  try {
    const created = typeof response === "function" ? response(toRequest(client, disconnected.signal)) : response;
    await send(client, await created, disconnected.signal);
  } catch (error) {
    // A wait that was aborted because the client disconnected.
    if (!disconnected.signal.aborted || error !== disconnected.signal.reason) throw error;
  } finally {
    client.off("close", abort);
  }
}

/** Tells whether nothing more can be sent. Of a closed response of `node:http2`, only its stream tells that. */
function isClosed(client: ServerResponse & { readonly stream?: { destroyed: boolean; closed: boolean } }): boolean {
  const { destroyed, socket, stream } = client;
  return destroyed || socket?.destroyed === true || stream?.destroyed === true || stream?.closed === true;
}

function toRequest({ req }: ServerResponse, signal: AbortSignal): HttpRequest {
  const { originalUrl } = req as { originalUrl?: string };
  return { url: req.url, originalUrl, headers: req.headers, signal };
}

async function send(client: ServerResponse, response: Response, disconnected: AbortSignal): Promise<void> {
  const { body } = response;
  if (disconnected.aborted) {
    await body?.cancel();
    return;
  }
  client.statusCode = response.status;
  for (const [name, value] of response.headers) {
    if (name === "set-cookie") client.setHeader(name, [client.getHeader(name) ?? [], value].flat().map(String));
    else client.setHeader(name, value);
  }
  if (client.req.method === "HEAD") await body?.cancel();
  else if (body !== null) await write(client, body.getReader(), disconnected);
  client.end();
}

async function write(
  client: ServerResponse,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  disconnected: AbortSignal,
): Promise<void> {
  const cancel = (): void => void reader.cancel().catch(() => undefined);
  const room = new Room(client, reader.closed);
  disconnected.addEventListener("abort", cancel);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (isClosed(client)) cancel();
      else if (!client.write(value)) await room.wait();
    }
  } catch (error) {
    // A proper end would make an incomplete response look complete.
    client.destroy();
    throw error;
  } finally {
    room.leave();
    disconnected.removeEventListener("abort", cancel);
  }
}

/** Waits for a client that reads slowly. */
class Room {
  readonly #client: ServerResponse;
  #hasEnded = false;
  #resume = (): void => undefined;
  readonly #onDrain = (): void => this.#resume();

  /**
   * @param ended - Settles once the body has ended. A body that is cancelled, or gives up on a client that reads
   *   nothing, ends a wait, too.
   */
  constructor(client: ServerResponse, ended: Promise<unknown>) {
    this.#client = client;
    client.on("drain", this.#onDrain);
    const onEnd = (): void => {
      this.#hasEnded = true;
      this.#resume();
    };
    // Once per response. A race in each wait would add a reaction that stays in memory until the body ends.
    ended.then(onEnd, onEnd);
  }

  /** Resolves once the client can take more, or the body has ended. Call it right after `write` returned false. */
  async wait(): Promise<void> {
    if (!this.#hasEnded) await new Promise<void>((resolve) => (this.#resume = resolve));
  }

  /** Stops listening to the client. */
  leave(): void {
    this.#client.off("drain", this.#onDrain);
  }
}

/** A server of `node:http`. */
export class HttpServer implements AsyncDisposable {
  readonly #server: Server;
  #closing: Promise<void> | undefined;

  constructor(listener: RequestListener) {
    this.#server = createServer(listener);
  }

  /** Listens, and resolves with the port. */
  async listen(port: number, address: string): Promise<number> {
    this.#server.listen(port, address);
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  /** Closes all connections. Can be called again. */
  async close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#server.close(() => resolve());
      // Event streams never end by themselves.
      this.#server.closeAllConnections();
    });
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
