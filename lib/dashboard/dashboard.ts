import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { PostgresResultBackend } from "../postgres-backend";
import { Access } from "./access";
import { type Asset, readAssets, securityHeaders } from "./assets";
import {
  type DashboardOptions,
  type ResolvedDashboardOptions,
  resolveDashboardOptions,
  urlHost,
} from "./dashboard-options";
import { EventStream, type EventStreamTimes } from "./event-stream";
import { Monitor, type MonitorTimes } from "./monitor";

/** A page that is being served. */
export interface Dashboard extends AsyncDisposable {
  /** Where to open it: with the token, if one is needed. */
  readonly url: string;
  /** Ends every connection, and what was subscribed to for it. The backend stays open. May be called again. */
  close(): Promise<void>;
}

export interface DashboardTimes extends EventStreamTimes, MonitorTimes {}

export const defaultDashboardTimes: DashboardTimes = {
  tickMs: 250,
  groupsMs: 1_000,
  lingerMs: 5_000,
  healthMs: 5_000,
  heartbeatMs: 10_000,
  stallMs: 15_000,
};
/** Far more than there are people who look. */
const maxStreams = 100;

/**
 * Serves a page that shows what a backend sees: results, failures and groups as they come. It changes nothing in the database, and looks only while a page is open.
 *
 * @throws TypeError, RangeError An option does not fit.
 * @throws Error of Node, such as `EADDRINUSE`: it cannot listen there.
 */
export async function startDashboard(
  backend: PostgresResultBackend,
  options: DashboardOptions = {},
  times: DashboardTimes = defaultDashboardTimes,
): Promise<Dashboard> {
  const resolved = await resolveDashboardOptions(options);
  const dashboard = new DashboardServer(backend, resolved, times);
  await dashboard.listen();
  return dashboard;
}

class DashboardServer implements Dashboard {
  readonly #options: ResolvedDashboardOptions;
  readonly #times: DashboardTimes;
  readonly #access: Access;
  readonly #assets: ReadonlyMap<string, Asset> = readAssets();
  readonly #monitor: Monitor;
  readonly #server: Server;
  #streams = 0;
  #url = "";
  #closing: Promise<void> | undefined;

  constructor(backend: PostgresResultBackend, options: ResolvedDashboardOptions, times: DashboardTimes) {
    this.#options = options;
    this.#times = times;
    this.#access = new Access(options);
    this.#monitor = new Monitor(backend, options.showResults, times);
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  /** What it is after `listen`, for good: also where the dashboard is closed, to start another one there. */
  get url(): string {
    return this.#url;
  }

  async listen(): Promise<void> {
    const { host, address, token } = this.#options;
    this.#server.listen(this.#options.port, address);
    await once(this.#server, "listening");
    const { port } = this.#server.address() as AddressInfo;
    // Nobody can be reached at "everywhere"; from this machine, this works.
    const shown = { "0.0.0.0": "127.0.0.1", "::": "::1" }[address] ?? host;
    this.#url = `http://${urlHost(shown)}:${port}/${token === undefined ? "" : `?token=${encodeURIComponent(token)}`}`;
  }

  async close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      this.#server.close(() => resolve());
      // Streams never end by themselves.
      this.#server.closeAllConnections();
    });
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(securityHeaders)) response.setHeader(name, value);
    const reply = this.#replyTo(request);
    if (reply === "events") {
      this.#sendEvents(response);
      return;
    }
    const { status, type, content, headers } = reply;
    response.writeHead(status, { "Content-Type": type, "Content-Length": content.length, ...headers }).end(content);
  }

  #replyTo(request: IncomingMessage): Reply | "events" {
    const target = `http://dashboard${request.url ?? "/"}`;
    const url = URL.canParse(target) ? new URL(target) : undefined;
    if (url === undefined) return textReply(400, "No address.");
    const refusal = this.#access.refusal(request, url);
    if (refusal !== undefined) return textReply(refusal.status, refusal.message);
    if (request.method !== "GET" && request.method !== "HEAD")
      return { ...textReply(405, "Only GET."), headers: { Allow: "GET, HEAD" } };
    if (url.pathname === "/events") {
      if (this.#streams >= maxStreams) return textReply(503, "Too many are looking already.");
      return request.method === "HEAD" ? textReply(200, "Events.") : "events";
    }
    const asset = this.#assets.get(url.pathname);
    if (asset === undefined) return textReply(404, "Nothing here.");
    const cookie = url.pathname === "/" ? this.#access.cookieFor(url) : undefined;
    if (cookie === undefined) return { status: 200, ...asset };
    // Away with the token from the address bar and the history.
    return { ...textReply(303, "Without the token."), headers: { "Set-Cookie": cookie, Location: "./" } };
  }

  #sendEvents(response: ServerResponse): void {
    this.#streams += 1;
    const stream = new EventStream(response, this.#times);
    const subscription = this.#monitor.frames$.subscribe((frame) => stream.send(frame));
    response.on("close", () => {
      this.#streams -= 1;
      subscription.unsubscribe();
    });
  }
}

interface Reply extends Asset {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
}

function textReply(status: number, text: string): Reply {
  return { status, type: "text/plain; charset=utf-8", content: Buffer.from(`${text}\n`) };
}
