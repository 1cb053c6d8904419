import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { checkInteger, typeName } from "../value/arguments";

export interface DashboardOptions {
  /** Where to listen. 0 to 65 535; 0 takes any that is free. Default 5480. */
  readonly port?: number;
  /** The address, or a name of it, to listen at. Default `127.0.0.1`: nobody else on the network gets there. */
  readonly host?: string;
  /**
   * What whoever asks has to know: at least 16 visible characters of ASCII. Default: none where only this machine can ask; elsewhere one is made, and is part of
   * the address that {@link startDashboard} gives.
   */
  readonly token?: string;
  /** Whether values and messages of failures are shown, and not only ids and states. Default `false`. */
  readonly showResults?: boolean;
}

/** The options with every default filled in. */
export interface ResolvedDashboardOptions {
  readonly port: number;
  /** What was asked for, for the address to show. */
  readonly host: string;
  /** What that is as an address. */
  readonly address: string;
  readonly isLoopback: boolean;
  readonly token: string | undefined;
  readonly showResults: boolean;
}

const defaultPort = 5480;
// Long enough not to be guessed, and nothing that a cookie, a header or an address would have to escape in several ways.
const tokenPattern = /^[\x21-\x7e]{16,}$/;

/** Fills in the defaults; rejects with a `TypeError` or `RangeError` for what does not fit, and with the resolver's error for a name that is none. */
export async function resolveDashboardOptions(options: DashboardOptions): Promise<ResolvedDashboardOptions> {
  const { port = defaultPort, host = "127.0.0.1", token, showResults = false } = options;
  checkInteger(port, "port", 0, 65_535);
  checkText(host, "host");
  checkToken(token);
  if (typeof showResults !== "boolean")
    throw new TypeError(`showResults: expected true or false, got ${typeName(showResults)}.`);
  // What counts is where a name leads: many a machine's own leads to 127.0.1.1, and localhost need not lead here.
  const { address } = await lookup(host);
  const isLoopback = isLoopbackAddress(address);
  const required = isLoopback ? undefined : randomBytes(24).toString("base64url");
  return { port, host, address, isLoopback, token: token ?? required, showResults };
}

/** An address or a name as it stands in a URL. */
export const urlHost = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);

function isLoopbackAddress(address: string): boolean {
  return address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
}

function checkToken(token: unknown): void {
  if (token === undefined) return;
  if (typeof token !== "string") throw new TypeError(`token: expected a string, got ${typeName(token)}.`);
  // Not shown: it is a secret, and errors end up in logs.
  if (!tokenPattern.test(token))
    throw new RangeError("token: expected at least 16 visible characters of ASCII without spaces.");
}

function checkText(value: unknown, what: string): void {
  if (typeof value !== "string") throw new TypeError(`${what}: expected a string, got ${typeName(value)}.`);
  if (value === "") throw new RangeError(`${what}: expected an address or a name, got an empty string.`);
}
