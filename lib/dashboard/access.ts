import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** Reason to deny a request. */
export interface Denial {
  readonly status: 401 | 403;
  readonly message: string;
}

/**
 * Decides which requests may see the dashboard: those with a secret token of at least 16 visible characters of ASCII,
 * or those for which a function returns true.
 */
export type DashboardAuth =
  { readonly token: string } | ((request: IncomingMessage) => boolean | Promise<boolean>) | undefined;

// Too long to guess, and without characters that cookies, headers or addresses escape in different ways.
const tokenPattern = /^[\x21-\x7e]{16,}$/;

/** @throws RangeError The token is too short, or has other characters. The message does not contain it. */
export function checkToken(token: string): void {
  if (!tokenPattern.test(token))
    throw new RangeError("token: expected at least 16 visible characters of ASCII without spaces.");
}

/**
 * Decides which requests are answered. Other pages in the same browser are denied: their requests carry another origin
 * or, if a foreign name was pointed at this machine (DNS rebinding), a foreign Host header.
 */
export class Access {
  readonly #isKnownHost: (name: string) => boolean;
  readonly #token: string | undefined;
  readonly #isAllowed: (request: IncomingMessage) => boolean | Promise<boolean>;
  readonly #cookieName: string;

  /** @param isKnownHost - Tells whether a name in lower case is one under which the dashboard is served. */
  constructor(auth: DashboardAuth, isKnownHost: (name: string) => boolean) {
    this.#isKnownHost = isKnownHost;
    this.#token = typeof auth === "object" ? auth.token : undefined;
    this.#isAllowed = typeof auth === "function" ? auth : () => true;
    // Browsers share cookies between ports: two dashboards on one machine must not overwrite each other's.
    this.#cookieName = `kojin-dashboard-${digest(this.#token ?? "")
      .toString("hex")
      .slice(0, 12)}`;
  }

  /** The reason to deny `request` for `url`; undefined to allow it. */
  async check(request: IncomingMessage, url: URL): Promise<Denial | undefined> {
    const { host } = request.headers;
    // The port is ignored, because a tunnel changes it.
    const name = host === undefined ? undefined : hostOf(`http://${host}`)?.hostname;
    if (name === undefined || !this.#isKnownHost(name))
      return { status: 403, message: "This host name is not allowed." };
    if (!isSameOrigin(request)) return { status: 403, message: "Requests from other origins are not allowed." };
    if (!this.#hasToken(request, url))
      return { status: 401, message: "A token is required. Open the address that contains it." };
    if (!(await this.#isAllowed(request))) return { status: 403, message: "You may not see this page. Log in first." };
    return undefined;
  }

  /** The cookie that replaces the token in `url`, if there is one. Scripts of the page cannot read it. */
  cookieFor(url: URL): string | undefined {
    if (this.#token === undefined || url.searchParams.get("token") === null) return undefined;
    // Not Strict: a visitor who follows a link from elsewhere would be denied after the redirect. Other origins are
    // denied anyway. Not only the path of the page: a proxy may serve it under another one.
    return `${this.#cookieName}=${encodeURIComponent(this.#token)}; HttpOnly; SameSite=Lax; Path=/`;
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
