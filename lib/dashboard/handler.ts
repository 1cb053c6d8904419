import type { IncomingMessage, ServerResponse } from "node:http";
import { extname } from "node:path";
import { defer, finalize, type Observable } from "rxjs";
import { eventResponse, type StreamEvent } from "../http/event-stream";
import { sendResponse } from "../http/send-response";
import type { PostgresResultBackend } from "../postgres-backend";
import { checkId } from "../value/arguments";
import type { Access } from "./access";
import { Details, type MemberState } from "./details";
import { Monitor, type MonitorTimes } from "./monitor";
import { pageFiles } from "./page-files";

export interface DashboardTimes extends MonitorTimes {
  /** Time between two heartbeats of a connection, in milliseconds. */
  readonly heartbeatMs: number;
  /** Longest time in which a client may read nothing before it is disconnected, in milliseconds. */
  readonly stallMs: number;
}

export const defaultDashboardTimes: DashboardTimes = {
  tickMs: 250,
  readMs: 1_000,
  idleMs: 5_000,
  healthMs: 5_000,
  heartbeatMs: 10_000,
  stallMs: 15_000,
};
const maxPages = 100;
/** Reads of single tasks and groups at a time, so that they cannot take all connections of the pool. */
const maxReads = 2;
const retryMs = 1_000;
/** An event, because scripts cannot see comments, and the page reconnects if heartbeats stop. */
const heartbeat = "event: heartbeat\ndata\n\n";
const memberStates: readonly string[] = ["completed", "failed", "open"] satisfies MemberState[];

const contentTypes: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Allows only the page's own files, no frames, and no text that becomes markup (Trusted Types). */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

const securityHeaders: Readonly<Record<string, string>> = {
  "Content-Security-Policy": contentSecurityPolicy,
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  "Cache-Control": "no-store",
};

/** The settings of one dashboard. */
export interface HandlerOptions {
  readonly access: Access;
  readonly showResults: boolean;
  /** The path under which it is served, as {@link pathOf} returns it, without a slash at the end. */
  readonly basePath: string;
  readonly times: DashboardTimes;
}

/** Answers the requests of a dashboard's pages. */
export class DashboardHandler {
  readonly #backend: PostgresResultBackend;
  readonly #options: HandlerOptions;
  readonly #monitor: Monitor;
  readonly #details: Details;
  readonly #files = readFiles();
  #pages = 0;
  #reads = 0;

  constructor(backend: PostgresResultBackend, options: HandlerOptions) {
    this.#backend = backend;
    this.#options = options;
    this.#monitor = new Monitor(backend, options.showResults, options.times);
    this.#details = new Details(backend.core, options.showResults);
  }

  /** Answers a request. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
    sendResponse(response, async () => this.#respond(request, response)).catch((error: unknown) => {
      this.#backend.core.options.logger.error(`The dashboard could not answer: ${String(error)}`);
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<Response> {
    // Express removes the path of a mounted handler from the URL.
    const { originalUrl = request.url ?? "/" } = request as { originalUrl?: string };
    const url = parseTarget(originalUrl);
    if (url === undefined) return textResponse(400, "The address is not valid.");
    const denial = await this.#options.access.check(request, url);
    if (denial !== undefined) return textResponse(denial.status, denial.message);
    if (request.method !== "GET" && request.method !== "HEAD")
      return textResponse(405, "Only GET and HEAD are allowed.", { Allow: "GET, HEAD" });
    const { basePath } = this.#options;
    const pathname = pathOf(url);
    // Addresses on the page are relative, so the path must end with a slash. The dot keeps a name with a colon from
    // being read as the scheme of an address.
    if (pathname === basePath && basePath !== "")
      return redirect(`./${basePath.slice(basePath.lastIndexOf("/") + 1)}/${url.search}`);
    if (!pathname.startsWith(`${basePath}/`)) return textResponse(404, "Not found.");
    const path = pathname.slice(basePath.length);
    if (path === "/events") return this.#respondWithEvents(request, response);
    if (path.startsWith("/data/")) return this.#respondWithData(path.slice("/data/".length), url.searchParams);
    return this.#respondWithFile(path, url);
  }

  #respondWithFile(path: string, url: URL): Response {
    const file = this.#files.get(path);
    if (file === undefined) return textResponse(404, "Not found.");
    const cookie = path === "/" ? this.#options.access.cookieFor(url) : undefined;
    // Removes the token from the address bar and the history.
    if (cookie !== undefined) return redirect("./", { "Set-Cookie": cookie });
    return new Response(file.content, { headers: { "Content-Type": file.type } });
  }

  #respondWithEvents({ method }: IncomingMessage, response: ServerResponse): Response {
    if (this.#pages >= maxPages) return textResponse(503, "Too many pages are open.");
    const { heartbeatMs, stallMs } = this.#options.times;
    // Heartbeats keep a healthy connection busy. One without activity belongs to a client that reads nothing.
    if (method === "GET") response.setTimeout(stallMs, () => response.destroy());
    const { closed: signal } = this.#backend.core;
    return eventResponse(() => this.#events$(), { heartbeatMs, retryMs, signal }, { heartbeat });
  }

  #events$(): Observable<StreamEvent> {
    return defer(() => {
      this.#pages += 1;
      return this.#monitor.events$;
    }).pipe(finalize(() => (this.#pages -= 1)));
  }

  async #respondWithData(kind: string, params: URLSearchParams): Promise<Response> {
    const id = params.get("id") ?? "";
    if (!["task", "group", "search"].includes(kind)) return textResponse(404, "Not found.");
    try {
      checkId(id, kind === "group" ? "groupId" : "taskId");
    } catch (error) {
      return textResponse(400, (error as Error).message);
    }
    if (this.#reads >= maxReads) return textResponse(503, "Too many reads at a time.", { "Retry-After": "1" });
    this.#reads += 1;
    try {
      const json = JSON.stringify(await this.#read(kind, id, params));
      return new Response(json, { headers: { "Content-Type": "application/json" } });
    } catch (error) {
      return textResponse(503, error instanceof Error ? error.message : String(error));
    } finally {
      this.#reads -= 1;
    }
  }

  async #read(kind: string, id: string, params: URLSearchParams): Promise<unknown> {
    const { showResults } = this.#options;
    if (kind === "task") return { ...(await this.#details.task(id)), hidesResults: !showResults };
    if (kind === "search") return this.#details.search(id);
    const state = params.get("state") ?? "";
    const wanted = memberStates.includes(state) ? (state as MemberState) : undefined;
    return { ...(await this.#details.group(id, params.get("after") ?? "", wanted)), showsResults: showResults };
  }
}

/** Parses the path and query of a request; undefined if they are not valid. */
export function parseTarget(target: string): URL | undefined {
  // Not with a base: a path that begins with two slashes would be read as the name of a host.
  const address = `http://dashboard${target}`;
  return URL.canParse(address) ? new URL(address) : undefined;
}

/** Returns the path of an address in one form: percent-encoded, in upper case (RFC 3986, section 6.2.2.1). */
export const pathOf = ({ pathname }: URL): string =>
  pathname.replace(/%[\da-f]{2}/gi, (encoded) => encoded.toUpperCase());

/** The files of the page, by path. */
function readFiles(): ReadonlyMap<string, { readonly type: string; readonly content: string }> {
  const files = Object.entries(pageFiles).map(([name, content]) => {
    const type = contentTypes[extname(name)] ?? "application/octet-stream";
    return [name === "index.html" ? "/" : `/${name}`, { type, content }] as const;
  });
  return new Map(files);
}

const redirect = (location: string, headers: Readonly<Record<string, string>> = {}): Response =>
  new Response(null, { status: 303, headers: { Location: location, ...headers } });

function textResponse(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(`${text}\n`, { status, headers: { "Content-Type": "text/plain; charset=utf-8", ...headers } });
}
