import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { checkInteger, typeName } from "../value/arguments";
import { checkToken } from "./access";

export interface DashboardOptions {
  /** The port to listen on. 0 to 65 535; 0 takes any free one. Default 5480. */
  readonly port?: number;
  /** The address or host name to listen on. Default `127.0.0.1`, which only this machine can reach. */
  readonly host?: string;
  /**
   * The secret that opens the page: at least 16 visible characters of ASCII. Default: none if only this machine can
   * reach the page; otherwise one is generated and becomes part of the dashboard's address.
   */
  readonly token?: string;
  /** Shows values and failure messages besides ids and states. Default `false`. */
  readonly showResults?: boolean;
}

/** The options with defaults applied. */
export interface ResolvedDashboardOptions {
  readonly port: number;
  readonly host: string;
  /** The address that `host` resolves to. */
  readonly address: string;
  readonly isLoopback: boolean;
  readonly token: string | undefined;
  readonly showResults: boolean;
}

const defaultPort = 5480;

/**
 * Applies the defaults.
 *
 * @throws TypeError, RangeError An option is invalid.
 * @throws Error of Node, such as `ENOTFOUND`: `host` cannot be resolved.
 */
export async function resolveDashboardOptions(options: DashboardOptions): Promise<ResolvedDashboardOptions> {
  const { port = defaultPort, host = "127.0.0.1", token, showResults = false } = options;
  checkInteger(port, "port", 0, 65_535);
  if (typeof host !== "string") throw new TypeError(`host: expected a string, got ${typeName(host)}.`);
  if (host === "") throw new RangeError("host: expected an address or a host name, got an empty string.");
  if (token !== undefined && typeof token !== "string")
    throw new TypeError(`token: expected a string, got ${typeName(token)}.`);
  if (token !== undefined) checkToken(token);
  if (typeof showResults !== "boolean")
    throw new TypeError(`showResults: expected true or false, got ${typeName(showResults)}.`);
  // The address decides, not the name: a machine's own name often resolves to 127.0.1.1, and localhost may not be
  // local.
  const { address } = await lookup(host);
  const isLoopback = address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
  const generated = isLoopback ? undefined : randomBytes(24).toString("base64url");
  return { port, host, address, isLoopback, token: token ?? generated, showResults };
}

/** An address or a host name as it appears in a URL. */
export const urlHost = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);
