import { networkInterfaces } from "node:os";
import type { PostgresResultBackend } from "kojin-postgres";
import { type Dashboard, startDashboard } from "../../lib/dashboard/dashboard";
import type { DashboardOptions } from "../../lib/dashboard/dashboard-options";
import { specDatabase } from "../support/spec-database";
import { ask } from "./support/requests";

describe("access to the dashboard", () => {
  const database = specDatabase("dashboard access");
  const started: Dashboard[] = [];
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open();
  });
  afterEach(async () => {
    for (const dashboard of started.splice(0)) await dashboard.close();
  });

  async function start(options: DashboardOptions = {}): Promise<{ url: URL; port: string }> {
    const dashboard = await startDashboard(backend, { port: 0, ...options });
    started.push(dashboard);
    const url = new URL(dashboard.url);
    return { url, port: url.port };
  }

  const paths = ["/", "/page.js", "/page.css", "/icon.svg", "/events"];

  it.each(paths)("answers %s to this machine, by each of its names", async (path) => {
    const { url, port } = await start();
    expect(url.hostname).toBe("127.0.0.1");
    expect(url.search).toBe("");
    for (const host of [
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      `LOCALHOST:${port}`,
      `[::1]:${port}`,
      "localhost:80",
    ]) {
      expect([host, (await ask(new URL(path, url).href, { host })).status]).toEqual([host, 200]);
    }
  });

  it.each(paths)("refuses %s if the Host header has another name, as in DNS rebinding", async (path) => {
    const { url, port } = await start();
    const hosts = [
      `evil.example:${port}`,
      "evil.example",
      `127.0.0.1.evil.example:${port}`,
      `localhost.evil.example`,
      `127.0.0.1@evil.example:${port}`,
      `evil.example@127.0.0.1:${port}`,
      `127.0.0.1:${port}/`,
      `10.1.2.3:${port}`,
      " ",
    ];
    for (const host of hosts) {
      const { status, text } = await ask(new URL(path, url).href, { host });
      expect([host, status, text]).toEqual([host, 403, "This host name is not allowed.\n"]);
    }
  });

  it.each(paths)("refuses %s to other origins, without CORS headers", async (path) => {
    const { url, port } = await start();
    const at = new URL(path, url).href;
    for (const origin of [
      "http://evil.example",
      "null",
      `http://127.0.0.1:${Number(port) + 1}`,
      "http://localhost",
      "",
    ]) {
      const { status, headers } = await ask(at, { origin });
      expect([origin, status]).toEqual([origin, 403]);
      expect(Object.keys(headers).filter((name) => name.startsWith("access-control-"))).toEqual([]);
    }
    // Requests without an origin, such as those for images, carry Sec-Fetch-Site.
    for (const site of ["cross-site", "same-site"]) {
      const headers = { "sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" };
      expect((await ask(at, headers)).status).toBe(403);
      const frame = { "sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" };
      expect((await ask(at, frame)).status).toBe(403);
    }
    expect((await ask(at, { origin: `http://127.0.0.1:${port}`, "sec-fetch-site": "same-origin" })).status).toBe(200);
  });

  it("accepts a link from another site", async () => {
    const { url } = await start();
    const headers = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    expect((await ask(url.href, headers)).status).toBe(200);
  });

  it("accepts the token in the address, as a bearer token and as its cookie, and no other", async () => {
    const token = "correct horse battery".replaceAll(" ", "-");
    const { url } = await start({ token });
    expect(url.searchParams.get("token")).toBe(token);
    const exchange = await ask(url.href);
    expect(exchange).toMatchObject({ status: 303, headers: { location: "./" } });
    const [cookie = ""] = exchange.headers["set-cookie"] ?? [];
    expect(cookie).toMatch(/; HttpOnly; SameSite=Lax; Path=\/$/);
    const [pair = ""] = cookie.split(";");
    const [name = ""] = pair.split("=");
    for (const path of paths) {
      const at = new URL(path, url);
      at.search = "";
      expect((await ask(at.href, { cookie: `other=1; ${pair}` })).status).toBe(200);
      expect((await ask(at.href, { authorization: `Bearer ${token}` })).status).toBe(200);
      const wrong: Record<string, string>[] = [
        {},
        { authorization: `Bearer ${token}x` },
        { authorization: `Basic ${token}` },
        { cookie: `${name}=${token.slice(1)}` },
        { cookie: `${name}=%` },
        { cookie: `${name}=` },
      ];
      for (const headers of wrong)
        expect([path, headers, (await ask(at.href, headers)).status]).toEqual([path, headers, 401]);
      for (const given of ["", "x", token.toUpperCase(), `${token}\0`]) {
        at.searchParams.set("token", given);
        const { status, headers } = await ask(at.href);
        expect([path, given, status, headers["set-cookie"]]).toEqual([path, given, 401, undefined]);
      }
    }
  });

  it("generates a token if other machines can connect, and still checks the Host header", async () => {
    const { url, port } = await start({ host: "0.0.0.0" });
    expect(url.hostname).toBe("127.0.0.1");
    const token = url.searchParams.get("token") ?? "";
    expect(token).toMatch(/^[\w-]{32}$/);
    const other = await start({ host: "0.0.0.0" });
    expect(other.url.searchParams.get("token")).not.toBe(token);
    expect((await ask(`http://127.0.0.1:${port}/events`)).status).toBe(401);
    const events = `http://127.0.0.1:${port}/events?token=${token}`;
    expect((await ask(events)).status).toBe(200);
    expect((await ask(events, { host: `evil.example:${port}` })).status).toBe(403);
    expect((await ask(events, { origin: "http://evil.example" })).status).toBe(403);
    const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
    for (const { address } of addresses.filter(({ family }) => family === "IPv4")) {
      const there = `http://${address}:${port}/events`;
      expect([there, (await ask(there)).status]).toEqual([there, 401]);
      expect([there, (await ask(`${there}?token=${token}`)).status]).toEqual([there, 200]);
    }
  });

  it("answers only GET and HEAD, and only for the page's files", async () => {
    const { url } = await start();
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      expect(await ask(url.href, {}, method)).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } });
    }
    expect(await ask(url.href, {}, "HEAD")).toMatchObject({ status: 200, text: "" });
    expect(await ask(`${url.href}events`, {}, "HEAD")).toMatchObject({ status: 200, text: "" });
    for (const path of ["/index.html", "/../index.ts", "/%2e%2e/index.ts", "/page", "/events/"])
      expect([path, (await ask(`${url.origin}${path}`)).status]).toEqual([path, 404]);
  });

  it("forbids foreign scripts, frames and resources in every response", async () => {
    const { url } = await start();
    for (const path of [...paths, "/nothing"]) {
      const { headers } = await ask(new URL(path, url).href);
      expect(headers["content-security-policy"]).toMatch(
        /^default-src 'none'; script-src 'self';.*frame-ancestors 'none'/,
      );
      expect(headers["content-security-policy"]).not.toMatch(/unsafe|\*|http/);
      expect(headers).toMatchObject({
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": path === "/events" ? "no-store, no-transform" : "no-store",
      });
    }
    const { text } = await ask(url.href);
    expect(text).not.toMatch(/<script(?![^>]* src="page\.js")|<style|style=|\son\w+=|https?:/);
  });

  it("refuses invalid options and a port in use", async () => {
    await expect(start({ port: 65_536 })).rejects.toThrow("port: expected a whole number from 0 to 65535, got 65536.");
    await expect(start({ host: "" })).rejects.toBeInstanceOf(RangeError);
    await expect(start({ showResults: "yes" as unknown as boolean })).rejects.toBeInstanceOf(TypeError);
    for (const token of ["short", "with a space in it", "with-ümlaut-in-it!"]) {
      const refused = start({ token });
      await expect(refused).rejects.toBeInstanceOf(RangeError);
      await expect(refused).rejects.not.toThrow(token);
    }
    const { port } = await start();
    await expect(start({ port: Number(port) })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});
