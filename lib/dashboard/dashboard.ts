import { hostname } from "node:os";
import { isIP } from "node:net";
import { HttpServer } from "../http/send-response";
import type { PostgresResultBackend } from "../postgres-backend";
import { Access } from "./access";
import {
  type DashboardOptions,
  type ResolvedDashboardOptions,
  resolveDashboardOptions,
  urlHost,
} from "./dashboard-options";
import { DashboardHandler, type DashboardTimes, defaultDashboardTimes } from "./handler";

/** A page that is being served. */
export interface Dashboard extends AsyncDisposable {
  /** The address of the page, including the token if there is one. */
  readonly url: string;
  /** Closes all connections and their subscriptions. The backend stays open. Can be called again. */
  close(): Promise<void>;
}

/**
 * Serves a live page of the results, failures and groups in the database of a backend. The page only reads, and only
 * while it is open.
 *
 * @throws TypeError, RangeError An option is invalid.
 * @throws Error of Node, such as `EADDRINUSE`: the server cannot listen there.
 */
export async function startDashboard(backend: PostgresResultBackend, options?: DashboardOptions): Promise<Dashboard>;
/** @internal With other times, for specs. */
export async function startDashboard(
  backend: PostgresResultBackend,
  options: DashboardOptions | undefined,
  times: DashboardTimes,
): Promise<Dashboard>;
export async function startDashboard(
  backend: PostgresResultBackend,
  options: DashboardOptions = {},
  times: DashboardTimes = defaultDashboardTimes,
): Promise<Dashboard> {
  const resolved = await resolveDashboardOptions(options);
  const { port, address, showResults, token } = resolved;
  const access = new Access(token === undefined ? undefined : { token }, hostRule(resolved));
  const handler = new DashboardHandler(backend, { access, showResults, basePath: "", times });
  const server = new HttpServer((request, response) => handler.handle(request, response));
  const url = urlOf(resolved, await server.listen(port, address));
  const close = async (): Promise<void> => server.close();
  return { url, close, [Symbol.asyncDispose]: close };
}

/** The names under which a server is reached: a name can be made to point here, an address cannot. */
function hostRule({ isLoopback, host }: ResolvedDashboardOptions): (name: string) => boolean {
  const own = isLoopback ? ["localhost", "127.0.0.1", "[::1]"] : ["localhost", hostname()];
  const names = new Set([...own, urlHost(host)].map((name) => name.toLowerCase()));
  return (name) => names.has(name) || (!isLoopback && isIP(name.replace(/^\[|\]$/g, "")) !== 0);
}

function urlOf({ host, address, token }: ResolvedDashboardOptions, port: number): string {
  // "All addresses" cannot be opened in a browser; this machine can.
  const shown = { "0.0.0.0": "127.0.0.1", "::": "::1" }[address] ?? host;
  return `http://${urlHost(shown)}:${port}/${token === undefined ? "" : `?token=${encodeURIComponent(token)}`}`;
}
