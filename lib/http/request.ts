/**
 * What is looked at of a request. A Fetch `Request` is one, as in Hono and Next; so are the requests of Express and Fastify, and an `IncomingMessage` of
 * `node:http`.
 */
export interface HttpRequest {
  readonly url?: string | undefined;
  /** The URL before a router has cut off where it is mounted, as Express and Fastify have it. */
  readonly originalUrl?: string | undefined;
  readonly headers: HttpHeaders;
  /** Aborts when the client goes away. */
  readonly signal?: AbortSignal | undefined;
}

/** Headers of Fetch, or those of `node:http` with their names in lower case. */
export type HttpHeaders =
  { get(name: string): string | null } | Readonly<Record<string, string | readonly string[] | undefined>>;

export interface RequestOptions {
  /** The request that is answered. Its URL becomes the `Location` of a 202, its `Last-Event-ID` says where a stream goes on, and its `signal`, if it has one, ends waiting. */
  readonly request?: HttpRequest;
  /** Aborts when nobody is there to be answered any more. Default: the request's `signal`. */
  readonly signal?: AbortSignal;
}

export const signalOf = ({ signal, request }: RequestOptions): AbortSignal | undefined => signal ?? request?.signal;

/** The id of the last event that the client has seen; undefined if it has seen none. */
export function lastEventIdOf({ request }: RequestOptions): string | undefined {
  if (request === undefined) return undefined;
  const { headers } = request;
  const value = isFetchHeaders(headers) ? headers.get("last-event-id") : headers["last-event-id"];
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Path and query of a request, for the client to come back to; without the host, since behind a proxy that is another one. */
export function pathOf({ originalUrl, url }: HttpRequest): string | undefined {
  const target = originalUrl ?? url;
  if (target === undefined || !URL.canParse(target, "http://localhost")) return undefined;
  // A path that begins with two slashes would be the name of another host, to whoever reads it as a reference.
  const { pathname, search } = new URL(oneSlash(target), "http://localhost");
  return oneSlash(pathname) + search;
}

const oneSlash = (text: string): string => text.replace(/^[/\\]+/, "/");

const isFetchHeaders = (headers: HttpHeaders): headers is { get(name: string): string | null } =>
  typeof headers.get === "function";
