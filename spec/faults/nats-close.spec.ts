import { fork } from "node:child_process";
import { createServer, type Server } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Notifier, PostgresResultBackend } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { eventually } from "../support/eventually";
import { NatsServer } from "../support/nats-server";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";
import { describeWithNats } from "../support/where";

describeWithNats()("closing a backend with notifications over NATS", () => {
  const database = specDatabase("nats close");
  let server: NatsServer;
  let silent: Server;
  let proxy: TcpProxy;
  beforeAll(async () => {
    server = await NatsServer.start();
    silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    proxy = await TcpProxy.start(server.url);
  });
  afterAll(async () => {
    await proxy.stop();
    silent.close();
    await server.stop();
  });
  const open = async (notifier: Notifier): Promise<PostgresResultBackend> => database.open({ notifier, notify: "off" });
  const connected = async (): Promise<number> => (await server.connections()).length;

  const states: [string, () => string, (backend: PostgresResultBackend) => Promise<unknown>][] = [
    ["new", () => server.url, async () => Promise.resolve()],
    ["connecting", () => server.url, async (backend) => Promise.resolve(void backend.ready().catch(() => undefined))],
    ["listening", () => server.url, async (backend) => backend.ready()],
    ["storing", () => server.url, async (backend) => backend.store("closing", 1)],
    [
      "waiting",
      () => server.url,
      async (backend) => backend.ready().then(() => void backend.wait("never", Infinity).catch(() => undefined)),
    ],
    ["refused", () => "nats://127.0.0.1:1", async (backend) => backend.ready()],
    [
      "waiting for a server that says nothing",
      () => `nats://127.0.0.1:${(silent.address() as AddressInfo).port}`,
      async (backend) => Promise.resolve(void backend.wait("never", Infinity).catch(() => undefined)),
    ],
    [
      "storing where a server says nothing",
      () => `nats://127.0.0.1:${(silent.address() as AddressInfo).port}`,
      async (backend) => backend.store("unheard", 1),
    ],
    [
      "reconnecting",
      () => proxy.route(server.url),
      async (backend) => {
        await backend.ready();
        proxy.mode = "refuse";
        proxy.cut();
        await eventually(() => expect(backend.stats().status).not.toBe("listening"));
      },
    ],
    [
      "connected to what has gone silent",
      () => proxy.route(server.url),
      async (backend) => {
        proxy.mode = "pass";
        await backend.ready();
        proxy.strand();
      },
    ],
  ];
  it.each(states)("leaves nothing when it is %s", async (_state, url, prepare) => {
    await eventually(async () => expect(await connected()).toBe(0));
    const backend = await open(nats({ servers: url() }));
    await prepare(backend);
    const startedAt = performance.now();
    await backend.close();
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(backend.stats().status).toBe("closed");
    proxy.cut();
    await eventually(async () => expect(await connected()).toBe(0));
    await eventually(async () => expect(await database.ownConnections()).toEqual([]));
  });

  it.each([
    ["is there", () => server.url],
    ["is absent", () => "nats://127.0.0.1:1"],
    ["says nothing", () => `nats://127.0.0.1:${(silent.address() as AddressInfo).port}`],
  ])("lets the process exit by itself where NATS %s", async (_state, url) => {
    const child = fork(join(__dirname, "..", "fixtures", "nats-exits.ts"), [url()], {
      execArgv: ["--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const [code] = (await once(child, "exit")) as [number | null];
    expect(code).toBe(0);
    await eventually(async () => expect(await connected()).toBe(0));
  });

  it("ends the connection with the last of those that share it, and opens another for those who come after", async () => {
    const notifier = nats({ servers: server.url });
    const [one, other] = [await open(notifier), await open(notifier)];
    await Promise.all([one.ready(), other.ready()]);
    expect(await connected()).toBe(1);
    await one.close();
    const result = other.wait("shared", 10_000);
    await other.store("shared", 1);
    expect(await result).toBe(1);
    await other.close();
    await eventually(async () => expect(await connected()).toBe(0));
    const later = await open(notifier);
    await later.ready();
    expect(later.stats().status).toBe("listening");
    expect(await connected()).toBe(1);
  });

  it("is through with announcements before it ends", async () => {
    const notifier = nats({ servers: server.url });
    const [waiting, storing] = [await open(notifier), await open(nats({ servers: server.url }))];
    await waiting.ready();
    const results = Promise.all(Array.from({ length: 500 }, async (_, index) => waiting.wait(`last ${index}`, 10_000)));
    const stored = Promise.all(Array.from({ length: 500 }, async (_, index) => storing.store(`last ${index}`, 1)));
    await storing.close();
    await stored;
    expect(await results).toHaveLength(500);
    expect(storing.stats().announcementsFailed).toBe(0);
    expect(waiting.stats().sweeps).toBe(0);
  });
});
