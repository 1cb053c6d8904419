import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { ResolvedDashboardOptions } from "./dashboard-options";
import { urlHost } from "./dashboard-options";

/** Reason to deny a request. */
export interface Denial {
  readonly status: 401 | 403;
  readonly message: string;
}

/**
 * Decides which requests are answered. Other pages in the same browser are denied: their requests carry another origin
 * or, if a foreign name was pointed at this machine (DNS rebinding), a foreign Host header.
 */
export class Access {
  readonly #isLoopback: boolean;
  readonly #names: ReadonlySet<string>;
  readonly #token: string | undefined;
  readonly #cookieName: string;

  constructor({ isLoopback, host, token }: ResolvedDashboardOptions) {
    this.#isLoopback = isLoopback;
    const own = isLoopback ? ["localhost", "127.0.0.1", "[::1]"] : ["localhost", hostname()];
    this.#names = new Set([...own, urlHost(host)].map((name) => name.toLowerCase()));
    this.#token = token;
    // Browsers share cookies between ports: two dashboards on one machine must not overwrite each other's.
    this.#cookieName = `kojin-dashboard-${digest(token ?? "")
      .toString("hex")
      .slice(0, 12)}`;
  }

  /** The reason to deny `request` for `url`; undefined to allow it. */
  check(request: IncomingMessage, url: URL): Denial | undefined {
    if (!this.#isKnownHost(request.headers.host)) return { status: 403, message: "This host name is not allowed." };
    if (!isSameOrigin(request)) return { status: 403, message: "Requests from other origins are not allowed." };
    if (!this.#hasToken(request, url))
      return { status: 401, message: "A token is required. Open the address that the command printed." };
    return undefined;
  }

  /** The cookie that replaces the token in `url`, if there is one. Scripts of the page cannot read it. */
  cookieFor(url: URL): string | undefined {
    if (this.#token === undefined || url.searchParams.get("token") === null) return undefined;
    // Not Strict: a visitor who follows a link from elsewhere would be denied after the redirect. Other origins are
    // denied anyway.
    return `${this.#cookieName}=${encodeURIComponent(this.#token)}; HttpOnly; SameSite=Lax; Path=/`;
  }

  #isKnownHost(header: string | undefined): boolean {
    const name = header === undefined ? undefined : hostOf(`http://${header}`)?.hostname;
    if (name === undefined) return false;
    // A name can be made to point here, an address cannot. The port is ignored, because a tunnel changes it.
    return this.#names.has(name) || (!this.#isLoopback && isIP(name.replace(/^\[|\]$/g, "")) !== 0);
  }

  #hasToken(request: IncomingMessage, url: URL): boolean {
    if (this.#token === undefined) return true;
    const bearer = /^Bearer (?<token>\S+)$/i.exec(request.headers.authorization ?? "")?.groups?.["token"];
    const given = [bearer, url.searchParams.get("token") ?? undefined, this.#cookieOf(request)];
    return given.some((each) => each !== undefined && isSame(each, this.#token ?? ""));
  }

  #cookieOf({ headers }: IncomingMessage): string | undefined {
    const pairs = (headers.cookie ?? "").split(";").map((pair) => pair.trim());
    const found = pairs.find((pair) => pair.startsWith(`${this.#cookieName}=`));
    try {
      return found === undefined ? undefined : decodeURIComponent(found.slice(this.#cookieName.length + 1));
    } catch {
      return undefined;
    }
  }
}

/** Browsers name the origin of a request in one header, in both, or (a navigation from the address bar) in neither. */
function isSameOrigin({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers;
  if (origin !== undefined && hostOf(origin)?.host !== hostOf(`http://${host ?? ""}`)?.host) return false;
  const site = headers["sec-fetch-site"];
  if (site === undefined || site === "same-origin" || site === "none") return true;
  // A link to the page. In a frame of another page, the destination would not be a document.
  return headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
}

/** Parses a bare origin; undefined for anything else. */
function hostOf(origin: string): { readonly host: string; readonly hostname: string } | undefined {
  // The parser alone would accept more, such as a user before the name.
  if (!/^https?:\/\/[^/\\?#@\s]+$/i.test(origin) || !URL.canParse(origin)) return undefined;
  const { host, hostname: name } = new URL(origin);
  return { host, hostname: name };
}

/** Compares in constant time, whatever the lengths. */
const isSame = (given: string, expected: string): boolean => timingSafeEqual(digest(given), digest(expected));

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
