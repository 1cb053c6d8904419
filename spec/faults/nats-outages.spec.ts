import { escapeIdentifier } from "pg";
import { firstValueFrom } from "rxjs";
import { filter } from "rxjs/operators";
import type { Notifier, ListenStatus, PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { pickFreePort } from "../../lib/embedded/server";
import { eventually } from "../support/eventually";
import { NatsServer } from "../support/nats-server";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";
import { describeWithNats } from "../support/where";

describeWithNats()("NATS, when it goes away", () => {
  const database = specDatabase("nats outages");
  const messages: string[] = [];
  const note = (message: string): void => void messages.push(message);
  const logger = { info: note, warn: note, error: note };
  const open = async (notifier: Notifier, options: PostgresResultBackendOptions = {}): Promise<PostgresResultBackend> =>
    database.open({ notifier, notify: "off", sweepIntervalMs: 600_000, logger, ...options });
  const until = async (backend: PostgresResultBackend, wanted: ListenStatus): Promise<ListenStatus> =>
    firstValueFrom(backend.status$.pipe(filter((status) => status === wanted)));
  /** Waits until it listens and has read everything again. */
  const untilQuiet = async (backend: PostgresResultBackend): Promise<void> => {
    await backend.ready();
    await until(backend, "listening");
    await eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
  };
  const waitAll = (backend: PostgresResultBackend, prefix: string, count: number): Promise<number[]> =>
    Promise.all(Array.from({ length: count }, async (_, index) => backend.wait<number>(`${prefix} ${index}`, 20_000)));
  const storeAll = async (backend: PostgresResultBackend, prefix: string, count: number): Promise<void> => {
    await Promise.all(Array.from({ length: count }, async (_, index) => backend.store(`${prefix} ${index}`, index)));
  };
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

  beforeEach(() => messages.splice(0));

  describe("in a cluster of three", () => {
    let servers: NatsServer[];
    beforeAll(async () => (servers = await NatsServer.startCluster(3)));
    afterAll(async () => Promise.all(servers.map(async (server) => server.stop())));
    const notifier = (): Notifier =>
      nats({ servers: servers.map(({ url }) => url), noRandomize: true, pingIntervalMs: 1_000 });

    it("loses no wait and no notification when the server that carries them is killed", async () => {
      const [waiting, storing] = [await open(notifier()), await open(notifier())];
      const results = waitAll(waiting, "killed", 300);
      // Without a waiter it would not reconnect.
      waiting.wait("never", Infinity).catch(() => undefined);
      await until(waiting, "listening");
      await storeAll(storing, "killed", 100);
      await servers[0]?.kill();
      await storeAll(storing, "killed", 300);
      expect(await results).toEqual(numbers(300));
      await until(waiting, "listening");
      expect(waiting.stats()).toMatchObject({ reconnects: 1, caughtBySweep: 0 });
      await servers[0]?.start();
    });

    it("loses no notification that is announced to a server which does not know of the subscription yet", async () => {
      const [near, far] = [await pickFreePort(), await pickFreePort()];
      const cluster = (port: number, routes = ""): string =>
        `cluster { name: slow, listen: "127.0.0.1:${port}", no_advertise: true, ${routes} }`;
      const one = await NatsServer.start(cluster(near));
      const proxy = await TcpProxy.start(`nats://127.0.0.1:${near}`);
      const route = proxy.route(`nats://127.0.0.1:${near}`);
      const other = await NatsServer.start(cluster(far, `routes: ["${route}"]`));
      const [waiting, storing] = [await open(nats({ servers: one.url })), await open(nats({ servers: other.url }))];
      await untilQuiet(waiting);
      const first = waiting.wait("known", 20_000);
      await storing.store("known", 1);
      expect(await first).toBe(1);
      proxy.delayMs = 200;
      const reads = waiting.stats().reads.statements;
      const result = waiting.wait("unknown", 20_000);
      // Once at the subscription, and once when the near server has confirmed it.
      await eventually(() => expect(waiting.stats().reads.statements).toBeGreaterThanOrEqual(reads + 2));
      await eventually(() => expect(waiting.stats().reads.inFlight).toBe(0));
      await storing.store("unknown", 2);
      expect(await result).toBe(2);
      expect(waiting.stats()).toMatchObject({ sweeps: 0, wokenBy: { deadline: 0 } });
      await Promise.all([waiting.close(), storing.close()]);
      await proxy.stop();
      await Promise.all([one.stop(), other.stop()]);
    });

    it("goes on by reading while all are away, and by notifications once they are back", async () => {
      const [waiting, storing] = [await open(notifier()), await open(notifier())];
      const results = waitAll(waiting, "all", 100);
      await until(waiting, "listening");
      await storing.store("connected", 1);
      await Promise.all(servers.map(async (server) => server.kill()));
      await until(waiting, "polling");
      expect((await waiting.health()).problems.join()).toContain("ECONNREFUSED");
      await storeAll(storing, "all", 100);
      expect(await results).toEqual(numbers(100));
      expect(waiting.stats().wokenBy.sweep).toBe(100);
      const later = waiting.wait("later", 30_000);
      await Promise.all(servers.map(async (server) => server.start()));
      await until(waiting, "listening");
      await storing.store("later", 2);
      expect(await later).toBe(2);
      expect((await waiting.health()).problems).toEqual([]);
      expect(messages.filter((each) => each.startsWith("Cannot reach NATS"))).toHaveLength(2);
    });
  });

  it("is waited for where it is absent at first, and nothing fails for it", async () => {
    const server = await NatsServer.absent();
    const notifier = nats({ servers: server.url });
    const backend = await open(notifier);
    const result = backend.wait("absent", 30_000);
    await until(backend, "polling");
    await backend.store("absent", 1);
    expect(await result).toBe(1);
    expect((await backend.diagnose()).find(({ check }) => check === "listening")).toMatchObject({
      verdict: "problem",
      finding: expect.stringContaining("NATS") as unknown,
    });
    const later = backend.wait("present", 30_000);
    await server.start();
    await until(backend, "listening");
    await backend.store("present", 2);
    expect(await later).toBe(2);
    expect((await backend.diagnose()).filter(({ verdict }) => verdict === "problem")).toEqual([]);
    expect(backend.stats().heartbeatMs).toBeGreaterThan(0);
    await backend.close();
    await server.stop();
  });

  it("tells, once it is back, what was stored while only the writer could not reach it", async () => {
    const server = await NatsServer.start();
    const proxy = await TcpProxy.start(server.url);
    const waiting = await open(nats({ servers: server.url }));
    const storing = await open(nats({ servers: proxy.route(server.url), pingIntervalMs: 1_000 }));
    const results = waitAll(waiting, "cut", 50);
    await untilQuiet(waiting);
    await storing.store("first", 1);
    expect(await waiting.wait("first", 20_000)).toBe(1);
    // Its notification may have come before its read.
    const { notification } = waiting.stats().wokenBy;
    proxy.mode = "refuse";
    proxy.cut();
    await storeAll(storing, "cut", 50);
    await eventually(() => expect(storing.stats().announcementsFailed).toBeGreaterThan(0));
    expect(waiting.stats().waiting).toBe(50);
    proxy.mode = "pass";
    expect(await results).toEqual(numbers(50));
    expect(waiting.stats()).toMatchObject({
      sweeps: 0,
      reconnects: 0,
      wokenBy: { notification: notification + 50, deadline: 0 },
    });
    await Promise.all([waiting.close(), storing.close()]);
    await proxy.stop();
    await server.stop();
  });

  it("announces results that cannot be read at that time, which are found shortly after they can", async () => {
    const server = await NatsServer.start();
    const proxy = await TcpProxy.start(database.url);
    const notifier = nats({ servers: server.url });
    const waiting = await database.open(
      { notifier, notify: "off", sweepIntervalMs: 600_000, retryTimeoutMs: 400 },
      proxy.route(database.url),
    );
    const storing = await open(notifier);
    const result = waiting.wait("unreadable", 20_000);
    const group = waiting.waitGroup("unreadable", 20_000);
    await untilQuiet(waiting);
    proxy.mode = "refuse";
    proxy.cut();
    await storing.store("unreadable", 1);
    await storing.initGroup("unreadable", 0);
    await eventually(() =>
      expect(waiting.stats()).toMatchObject({ notifications: { relevant: 2 }, reads: { inFlight: 0 } }),
    );
    expect(waiting.stats()).toMatchObject({ status: "listening", waiting: 1, waitingGroups: 1 });
    proxy.mode = "pass";
    expect(await result).toBe(1);
    expect(await group).toEqual([]);
    expect(waiting.stats()).toMatchObject({ caughtBySweep: 0, wokenBy: { sweep: 2, deadline: 0 } });
    await Promise.all([waiting.close(), storing.close()]);
    await proxy.stop();
    await server.stop();
  });

  it("is told to look at everything where more was stored meanwhile than is kept", async () => {
    const server = await NatsServer.start();
    const proxy = await TcpProxy.start(server.url);
    const waiting = await open(nats({ servers: server.url }));
    const storing = await open(nats({ servers: proxy.route(server.url), pingIntervalMs: 1_000 }));
    const waits = ["flood 0", "never announced"].map(async (id) => waiting.wait(id, 50_000));
    await untilQuiet(waiting);
    proxy.mode = "refuse";
    // Of the ids, 20 000 may wait to be sent, and as many to be confirmed.
    await storeAll(storing, "flood", 41_000);
    await database.sql(
      `insert into ${escapeIdentifier(database.schema)}.kojin_results (task_id, result) values ($1, '1')`,
      ["never announced"],
    );
    expect(waiting.stats()).toMatchObject({ waiting: 2, notifications: { relevant: 0 } });
    proxy.mode = "pass";
    expect(await Promise.all(waits)).toEqual([0, 1]);
    expect(waiting.stats()).toMatchObject({ sweeps: 0, wokenBy: { notification: 2 } });
    await Promise.all([waiting.close(), storing.close()]);
    await proxy.stop();
    await server.stop();
  });

  it("is found dead where its connection goes silent, and what went into it is told again", async () => {
    const server = await NatsServer.start();
    const proxy = await TcpProxy.start(server.url);
    const notifier = nats({ servers: proxy.route(server.url), pingIntervalMs: 400 });
    const [waiting, storing] = [await open(notifier), await open(nats({ servers: server.url }))];
    const result = waiting.wait("silent", 30_000);
    await untilQuiet(waiting);
    const statuses: ListenStatus[] = [];
    waiting.status$.subscribe((status) => statuses.push(status));
    proxy.strand();
    await storing.store("silent", 1);
    expect(await result).toBe(1);
    expect(statuses.slice(0, 3)).toEqual(["listening", "connecting", "listening"]);
    expect(messages.join()).toContain("has not answered");
    await Promise.all([waiting.close(), storing.close()]);
    await proxy.stop();
    await server.stop();
  });
});
