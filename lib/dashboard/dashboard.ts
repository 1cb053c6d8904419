import type { IncomingMessage } from "node:http";
import { extname } from "node:path";
import { defer, finalize, type Observable } from "rxjs";
import { eventResponse, type StreamEvent } from "../http/event-stream";
import { HttpServer } from "../http/send-response";
import type { PostgresResultBackend } from "../postgres-backend";
import { Access } from "./access";
import {
  type DashboardOptions,
  type ResolvedDashboardOptions,
  resolveDashboardOptions,
  urlHost,
} from "./dashboard-options";
import { Monitor, type MonitorTimes } from "./monitor";
import { pageFiles } from "./page-files";

/** A page that is being served. */
export interface Dashboard extends AsyncDisposable {
  /** The address of the page, including the token if there is one. */
  readonly url: string;
  /** Closes all connections and their subscriptions. The backend stays open. Can be called again. */
  close(): Promise<void>;
}

export interface DashboardTimes extends MonitorTimes {
  /** Time between two heartbeats of a connection, in milliseconds. */
  readonly heartbeatMs: number;
  /** Longest time in which a client may read nothing before it is disconnected, in milliseconds. */
  readonly stallMs: number;
}

export const defaultDashboardTimes: DashboardTimes = {
  tickMs: 250,
  groupsMs: 1_000,
  lingerMs: 5_000,
  healthMs: 5_000,
  heartbeatMs: 10_000,
  stallMs: 15_000,
};
const maxPages = 100;
const retryMs = 1_000;
/** An event, because scripts cannot see comments, and the page reconnects if heartbeats stop. */
const heartbeat = "event: heartbeat\ndata\n\n";

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

/**
 * Serves a live page of the results, failures and groups that a backend sees. The page only reads, and only while it is
 * open.
 *
 * @throws TypeError, RangeError An option is invalid.
 * @throws Error of Node, such as `EADDRINUSE`: the server cannot listen there.
 */
export async function startDashboard(
  backend: PostgresResultBackend,
  options: DashboardOptions = {},
  times: DashboardTimes = defaultDashboardTimes,
): Promise<Dashboard> {
  const dashboard = new DashboardServer(backend, await resolveDashboardOptions(options), times);
  await dashboard.listen();
  return dashboard;
}

class DashboardServer implements Dashboard {
  readonly #options: ResolvedDashboardOptions;
  readonly #times: DashboardTimes;
  readonly #access: Access;
  readonly #monitor: Monitor;
  readonly #files = readFiles();
  readonly #server: HttpServer;
  #pages = 0;
  #url = "";

  constructor(backend: PostgresResultBackend, options: ResolvedDashboardOptions, times: DashboardTimes) {
    this.#options = options;
    this.#times = times;
    this.#access = new Access(options);
    this.#monitor = new Monitor(backend, options.showResults, times);
    // Heartbeats keep a healthy connection busy. One without activity belongs to a client that reads nothing.
    const { stallMs } = times;
    this.#server = new HttpServer((request) => this.#respond(request), { headers: securityHeaders, stallMs });
  }

  /** Stays the same after `close`, so that another dashboard can be started there. */
  get url(): string {
    return this.#url;
  }

  async listen(): Promise<void> {
    const { host, address, token } = this.#options;
    const port = await this.#server.listen(this.#options.port, address);
    // "All addresses" cannot be opened in a browser; this machine can.
    const shown = { "0.0.0.0": "127.0.0.1", "::": "::1" }[address] ?? host;
    this.#url = `http://${urlHost(shown)}:${port}/${token === undefined ? "" : `?token=${encodeURIComponent(token)}`}`;
  }

  async close(): Promise<void> {
    await this.#server.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #respond(request: IncomingMessage): Response {
    const target = `http://dashboard${request.url ?? "/"}`;
    if (!URL.canParse(target)) return textResponse(400, "The address is not valid.");
    const url = new URL(target);
    const denial = this.#access.check(request, url);
    if (denial !== undefined) return textResponse(denial.status, denial.message);
    if (request.method !== "GET" && request.method !== "HEAD")
      return textResponse(405, "Only GET and HEAD are allowed.", { Allow: "GET, HEAD" });
    if (url.pathname === "/events") return this.#respondWithEvents();
    const file = this.#files.get(url.pathname);
    if (file === undefined) return textResponse(404, "Not found.");
    const cookie = url.pathname === "/" ? this.#access.cookieFor(url) : undefined;
    // Removes the token from the address bar and the history.
    if (cookie !== undefined)
      return new Response(null, { status: 303, headers: { "Set-Cookie": cookie, Location: "./" } });
    return new Response(file.content, { headers: { "Content-Type": file.type } });
  }

  #respondWithEvents(): Response {
    if (this.#pages >= maxPages) return textResponse(503, "Too many pages are open.");
    return eventResponse(() => this.#events$(), { heartbeatMs: this.#times.heartbeatMs, retryMs }, { heartbeat });
  }

  #events$(): Observable<StreamEvent> {
    return defer(() => {
      this.#pages += 1;
      return this.#monitor.events$;
    }).pipe(finalize(() => (this.#pages -= 1)));
  }
}

/** The files of the page, by path. */
function readFiles(): ReadonlyMap<string, { readonly type: string; readonly content: string }> {
  const files = Object.entries(pageFiles).map(([name, content]) => {
    const type = contentTypes[extname(name)] ?? "application/octet-stream";
    return [name === "index.html" ? "/" : `/${name}`, { type, content }] as const;
  });
  return new Map(files);
}

function textResponse(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(`${text}\n`, { status, headers: { "Content-Type": "text/plain; charset=utf-8", ...headers } });
}
