import type { IncomingMessage, ServerResponse } from "node:http";
import type { PostgresResultBackend } from "../postgres-backend";
import { checkOptions, typeName } from "../value/arguments";
import { Access, checkToken, type DashboardAuth } from "./access";
import { DashboardHandler, defaultDashboardTimes, parseTarget, pathOf } from "./handler";

export interface MountOptions {
  /**
   * The path under which your server passes requests to the handler, such as `/admin/tasks`. Default `/`: the whole
   * server.
   */
  readonly basePath?: string;
  /**
   * Who may open the page: `{ token }` for anyone with a secret of at least 16 visible characters of ASCII, or a
   * function that tells whether a request may, for example by its session. Requests from other origins are refused
   * before.
   */
  readonly auth: NonNullable<DashboardAuth>;
  /** Shows values and failures besides ids and states. Default `false`. */
  readonly showResults?: boolean;
}

/** A listener of `node:http`, which Express, Fastify, Hono and NestJS can call as well. */
export type DashboardListener = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Creates a handler that serves the dashboard as a part of your own server. It only reads, and only while a page is
 * open. Closing the backend ends the pages' connections.
 *
 * @throws TypeError, RangeError An option is invalid, or `auth` is missing.
 */
export function mountDashboard(backend: PostgresResultBackend, options: MountOptions): DashboardListener {
  checkOptions(options, { basePath: true, auth: true, showResults: true });
  const { basePath = "/", auth, showResults = false } = options;
  checkAuth(auth);
  if (typeof showResults !== "boolean")
    throw new TypeError(`showResults: expected true or false, got ${typeName(showResults)}.`);
  const access = new Access(auth, () => true);
  const handler = new DashboardHandler(backend, {
    access,
    showResults,
    basePath: toBasePath(basePath),
    times: defaultDashboardTimes,
  });
  return (request, response) => handler.handle(request, response);
}

function checkAuth(auth: unknown): void {
  const token = typeof auth === "object" && auth !== null ? (auth as { token?: unknown }).token : undefined;
  if (typeof auth === "function") return;
  if (typeof token !== "string")
    throw new TypeError(
      "auth: expected { token } or a function. If your server checks each request before, pass () => true.",
    );
  checkToken(token);
}

/** Brings a path into the form in which requests have it, and removes slashes at the end. */
function toBasePath(basePath: unknown): string {
  if (typeof basePath !== "string") throw new TypeError(`basePath: expected a string, got ${typeName(basePath)}.`);
  const url = /^\/[^?#\s]*$/.test(basePath) ? parseTarget(basePath) : undefined;
  if (url === undefined)
    throw new RangeError(`basePath: expected a path that begins with "/", got ${JSON.stringify(basePath)}.`);
  return pathOf(url).replace(/\/+$/, "");
}
