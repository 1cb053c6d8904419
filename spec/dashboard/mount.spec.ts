import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { PostgresResultBackend } from "kojin-postgres";
import { mountDashboard, type MountOptions } from "kojin-postgres/dashboard";
import { specDatabase } from "../support/spec-database";
import { eventually } from "../support/eventually";
import { isWatched } from "./support/is-watched";
import { ask, eventsOf } from "./support/requests";

describe("a mounted dashboard", () => {
  const database = specDatabase("dashboard mount");
  const servers: Server[] = [];
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open();
  });
  afterEach(() => {
    for (const server of servers.splice(0)) server.close().closeAllConnections();
  });

  /** Serves it, and something else beside it; gives the address of the server. */
  async function serve(options: MountOptions): Promise<string> {
    const dashboard = mountDashboard(backend, options);
    const server = createServer((request, response) => {
      if (request.url?.startsWith("/other") === true) response.end("other");
      else dashboard(request, response);
    });
    servers.push(server.listen(0, "127.0.0.1"));
    await once(server, "listening");
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const token = "a-token-of-the-spec";
  const mayPass = (): boolean => true;

  it("answers below its path only, and leads to the address with a slash", async () => {
    const url = await serve({ basePath: "/admin/tasks", auth: mayPass });
    expect(await ask(`${url}/admin/tasks?a=b`)).toMatchObject({ status: 303, headers: { location: "./tasks/?a=b" } });
    for (const path of ["/", "/page.js", "/data/task", "/events"])
      expect([path, (await ask(`${url}/admin/tasks${path}`)).status]).toEqual([
        path,
        path === "/data/task" ? 400 : 200,
      ]);
    for (const path of ["/", "/page.js", "/admin", "/admin/tasksx", "/admin/tasks/../../page.js"])
      expect([path, (await ask(`${url}${path}`)).status]).toEqual([path, 404]);
    expect((await ask(`${url}/other`)).text).toBe("other");
    const { text } = await ask(`${url}/admin/tasks/`);
    expect([...text.matchAll(/(?:href|src)="([^"#]+)/g)].map(([, target]) => target)).toEqual([
      "icon.svg",
      "page.css",
      "detail.css",
      "narrow.css",
      "page.js",
    ]);
  });

  it.each(["/", "/admin/", undefined])("accepts the path %s", async (basePath) => {
    const url = await serve({ ...(basePath === undefined ? {} : { basePath }), auth: mayPass });
    expect((await ask(`${url}${basePath ?? "/"}page.js`)).status).toBe(200);
  });

  it.each([
    ["/админ", "/%D0%B0%D0%B4%D0%BC%D0%B8%D0%BD"],
    ["/%d0%b0", "/%D0%B0"],
    ["/%D0%B0/", "/%d0%b0"],
    ["/a/../b\\c", "/b/c"],
    ["//b", "//b"],
    ["/a:b", "/a:b"],
  ])("finds the path %s in requests for %s, and leads to it", async (basePath, requested) => {
    const url = await serve({ basePath, auth: mayPass });
    expect((await ask(`${url}${requested}/page.js`)).status).toBe(200);
    const { status, headers } = await ask(`${url}${requested}`);
    const target = new URL(headers.location ?? "", `${url}${requested}`);
    expect([status, target.href.toUpperCase()]).toEqual([303, `${url}${requested}/`.toUpperCase()]);
    expect((await ask(`${url}/`)).status).toBe(404);
  });

  it("finds its path where Express has removed it from the URL", async () => {
    const dashboard = mountDashboard(backend, { basePath: "/admin", auth: mayPass });
    const server = createServer((request, response) =>
      dashboard(Object.assign(request, { originalUrl: request.url, url: "/page.js" }) as IncomingMessage, response),
    );
    servers.push(server.listen(0, "127.0.0.1"));
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    expect((await ask(`${url}/admin/page.css`)).headers["content-type"]).toMatch(/^text\/css/);
  });

  it("asks a function whether a request may pass, after the checks of its origin", async () => {
    const asked: (string | undefined)[] = [];
    const auth = async (request: IncomingMessage): Promise<boolean> => {
      asked.push(request.url);
      return Promise.resolve(request.headers.cookie === "session=1");
    };
    const url = await serve({ auth });
    const session = { cookie: "session=1" };
    for (const path of ["/", "/page.js", "/events", "/data/search?id=a"]) {
      expect([path, (await ask(`${url}${path}`)).status]).toEqual([path, 403]);
      expect([path, (await ask(`${url}${path}`, session)).status]).toEqual([path, 200]);
      const foreign = await ask(`${url}${path}`, { ...session, origin: "http://evil.example" });
      expect([path, foreign.status]).toEqual([path, 403]);
      const framed = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" };
      expect([path, (await ask(`${url}${path}`, { ...session, ...framed })).status]).toEqual([path, 403]);
    }
    expect(asked).toHaveLength(8);
    const { headers } = await ask(`${url}/`, session);
    expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; script-src 'self';/);
  });

  it("lets nothing pass if that function fails", async () => {
    const logged: string[] = [];
    const logger = { info: () => undefined, warn: () => undefined, error: (line: string) => void logged.push(line) };
    backend = await database.open({ logger });
    const url = await serve({ auth: async () => Promise.reject(new Error("no store of sessions")) });
    expect(await ask(`${url}/`)).toMatchObject({ status: 500, text: "" });
    expect(logged).toEqual(["The dashboard could not answer: Error: no store of sessions"]);
  });

  it("exchanges a token for a cookie, also below a path and under any name of the host", async () => {
    const url = await serve({ basePath: "/admin", auth: { token } });
    const host = { host: "tasks.example.com" };
    expect((await ask(`${url}/admin/`, host)).status).toBe(401);
    const first = await ask(`${url}/admin?token=${token}`, host);
    expect(first.headers.location).toBe(`./admin/?token=${token}`);
    const exchange = await ask(`${url}/admin/?token=${token}`, host);
    expect(exchange).toMatchObject({ status: 303, headers: { location: "./" } });
    const [cookie = ""] = exchange.headers["set-cookie"] ?? [];
    expect((await ask(`${url}/admin/`, { ...host, cookie: cookie.split(";")[0] ?? "" })).status).toBe(200);
  });

  it("ends the connections of its pages when the backend is closed", async () => {
    const url = await serve({ auth: mayPass });
    const reader = eventsOf(`${url}/events`);
    await reader.next();
    expect(isWatched(backend)).toBe(true);
    const ended = (async () => {
      while ((await reader.next()).done !== true) continue;
    })();
    await backend.close();
    await ended;
    await eventually(() => expect(isWatched(backend)).toBe(false));
  });

  it.each<[string, unknown, string]>([
    ["no auth", {}, "auth: expected { token } or a function"],
    ["a short token", { auth: { token: "short" } }, "token: expected at least 16 visible characters"],
    ["a path without a slash", { auth: mayPass, basePath: "admin" }, 'basePath: expected a path that begins with "/"'],
    ["a path with a query", { auth: mayPass, basePath: "/admin?a" }, 'basePath: expected a path that begins with "/"'],
    ["another option", { auth: mayPass, path: "/admin" }, "path: unknown option. The most similar one is"],
  ])("refuses %s", (_what, options, message) => {
    expect(() => mountDashboard(backend, options as MountOptions)).toThrow(message);
  });
});
