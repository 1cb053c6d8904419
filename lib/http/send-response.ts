import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import type { HttpRequest } from "./request";

/** A response of `node:http` or `node:http2`; that of Express is one, and `reply.raw` of Fastify. */
export type NodeResponse = ServerResponse | Http2ServerResponse;

/**
 * Sends a Fetch `Response` by way of `node:http`, at the pace at which the client reads. When the client goes away, the body is cancelled. Headers that are set
 * already stay, unless the response has others of that name.
 *
 * @param response - What `respond`, `sseResult` or `sseGroup` give; or a function of the request that gives it, whose `signal` aborts when the client goes away.
 * @returns Resolves when everything is sent, or nobody is there to be sent it. Rejects with what `response` or its body fail with; if something was sent by then, the
 *   connection is cut.
 */
export async function sendResponse(
  target: NodeResponse,
  response: Response | Promise<Response> | ((request: HttpRequest) => Response | Promise<Response>),
): Promise<void> {
  const client = target as ServerResponse;
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  client.once("close", leave);
  if (client.destroyed || client.socket?.destroyed === true) leave();
  try {
    const given = await (typeof response === "function" ? response(requestOf(client, gone.signal)) : response);
    await send(client, given, gone.signal);
  } catch (error) {
    // Whoever has been told that the client is gone may say so.
    if (!gone.signal.aborted || error !== gone.signal.reason) throw error;
  } finally {
    client.off("close", leave);
  }
}

function requestOf({ req }: ServerResponse, signal: AbortSignal): HttpRequest {
  const { originalUrl } = req as { originalUrl?: string };
  return { url: req.url, originalUrl, headers: req.headers, signal };
}

async function send(client: ServerResponse, response: Response, gone: AbortSignal): Promise<void> {
  const { body } = response;
  if (gone.aborted) {
    await body?.cancel();
    return;
  }
  const reader = body?.getReader();
  client.statusCode = response.status;
  setHeaders(client, response.headers);
  if (client.req.method === "HEAD") await reader?.cancel();
  else if (reader !== undefined) await write(client, reader, gone);
  client.end();
}

function setHeaders(client: ServerResponse, headers: Headers): void {
  for (const [name, value] of headers) {
    if (name === "set-cookie") client.setHeader(name, [client.getHeader(name) ?? [], value].flat().map(String));
    else client.setHeader(name, value);
  }
}

async function write(
  client: ServerResponse,
  reader: ReadableStreamDefaultReader<Uint8Array>,
  gone: AbortSignal,
): Promise<void> {
  const cancel = (): void => void reader.cancel().catch(() => undefined);
  gone.addEventListener("abort", cancel);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (client.destroyed) cancel();
      else if (!client.write(value)) await drained(client, gone);
    }
  } catch (error) {
    // Ended in good order, what was sent would look complete.
    client.destroy();
    throw error;
  } finally {
    gone.removeEventListener("abort", cancel);
  }
}

/** Resolves once the client has read on, or is gone. */
async function drained(client: ServerResponse, gone: AbortSignal): Promise<void> {
  if (gone.aborted) return;
  await new Promise<void>((resolve) => {
    const goOn = (): void => {
      client.off("drain", goOn);
      gone.removeEventListener("abort", goOn);
      resolve();
    };
    client.on("drain", goOn);
    gone.addEventListener("abort", goOn);
  });
}
