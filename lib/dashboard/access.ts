import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { ResolvedDashboardOptions } from "./dashboard-options";
import { urlHost } from "./dashboard-options";

/** Why a request is not answered. */
export interface Refusal {
  readonly status: 401 | 403;
  readonly message: string;
}

/**
 * Decides who may ask. Other pages in the same browser may not, whatever they are called: their requests name another origin, and where a foreign name has been pointed
 * at this machine (DNS rebinding), the name is in the Host header.
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
    // Cookies know no ports: two dashboards of one machine must not overwrite each other's.
    this.#cookieName = `kojin-dashboard-${digest(token ?? "")
      .toString("hex")
      .slice(0, 12)}`;
  }

  /** Why `request` for `url` is refused; undefined if it is let in. */
  refusal(request: IncomingMessage, url: URL): Refusal | undefined {
    if (!this.#isKnownHost(request.headers.host)) return { status: 403, message: "Not known by that name here." };
    if (!isSameOrigin(request)) return { status: 403, message: "Other origins are not answered." };
    if (!this.#hasToken(request, url))
      return { status: 401, message: "A token is needed: open the address that the command has printed." };
    return undefined;
  }

  /** The cookie that stands for the token from now on, where `url` has brought it; scripts of the page cannot read it. */
  cookieFor(url: URL): string | undefined {
    if (this.#token === undefined || url.searchParams.get("token") === null) return undefined;
    // Not Strict: whoever follows a link to the page from elsewhere would be refused after the redirect. Requests of other origins are, in any case.
    return `${this.#cookieName}=${encodeURIComponent(this.#token)}; HttpOnly; SameSite=Lax; Path=/`;
  }

  #isKnownHost(header: string | undefined): boolean {
    const name = header === undefined ? undefined : hostOf(`http://${header}`)?.hostname;
    if (name === undefined) return false;
    // A name can be pointed anywhere, an address cannot. The port does not matter: it is another one behind a tunnel.
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

/** Browsers say where a request comes from in one header, in both, or (a navigation, or none of their pages) in neither. */
function isSameOrigin({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers;
  if (origin !== undefined && hostOf(origin)?.host !== hostOf(`http://${host ?? ""}`)?.host) return false;
  const site = headers["sec-fetch-site"];
  if (site === undefined || site === "same-origin" || site === "none") return true;
  // Somebody who follows a link to the page. In a frame of somebody else's page it would not be a document.
  return headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
}

/** Of a bare origin; undefined for anything else. */
function hostOf(origin: string): { readonly host: string; readonly hostname: string } | undefined {
  // The parser takes more than that for an address, such as a user before the name.
  if (!/^https?:\/\/[^/\\?#@\s]+$/i.test(origin) || !URL.canParse(origin)) return undefined;
  const { host, hostname: name } = new URL(origin);
  return { host, hostname: name };
}

/** Takes as long whether a character is right or wrong, and whatever the lengths are. */
const isSame = (given: string, expected: string): boolean => timingSafeEqual(digest(given), digest(expected));

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
