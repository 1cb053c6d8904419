import { Pool } from "pg";
import { Database } from "../../lib/database/database";
import { SessionConfig } from "../../lib/database/session-config";
import { channelOf } from "../../lib/notifications/payload";
import { PostgresNotifications } from "../../lib/notifications/postgres-notifications";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

const times = { heartbeatMs: 200, heartbeatTimeoutMs: 500, selfTestMs: 500 };
const generous = { timeoutMs: 30_000 };

describe("backends that share a listener, each with a pool of its own", () => {
  const ends: (() => Promise<unknown>)[] = [];
  // Before that of the database, which fails where something is left connected.
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
  });
  const database = specDatabase("shared pools", { migrated: false });
  const warnings: string[] = [];
  let proxy: TcpProxy;
  beforeEach(async () => {
    warnings.length = 0;
    proxy = await TcpProxy.start(database.url);
    ends.push(async () => proxy.stop());
  });

  function open(notifying: Database, name = "a backend"): { notifications: PostgresNotifications; heard: string[] } {
    const warn = (message: string): void => void warnings.push(`${name}: ${message}`);
    const notifications = new PostgresNotifications({
      config: new SessionConfig(database.pool, proxy.route(database.url), "listener"),
      schema: database.schema,
      database: notifying,
      logger: { info: () => undefined, warn, error: () => undefined },
      times,
    });
    const heard: string[] = [];
    notifications.notifications$.subscribe(({ taskIds }) => heard.push(...taskIds));
    ends.push(async () => notifications.close());
    notifications.demand();
    return { notifications, heard };
  }

  const ownPool = (url: string): Pool => {
    const pool = new Pool({ connectionString: url, max: 1 });
    pool.on("error", () => undefined);
    ends.push(async () => (pool.ended ? undefined : pool.end()));
    return pool;
  };
  const through = (url: string): Database => new Database(ownPool(url), database.schema);
  const untilListening = async ({ notifications }: { notifications: PostgresNotifications }): Promise<void> =>
    eventually(() => expect(notifications.report.status).toBe("listening"), generous);

  async function expectToHear(...those: { notifications: PostgresNotifications; heard: string[] }[]): Promise<void> {
    await database.sql("select pg_notify($1, $2)", [channelOf(database.schema), '{"v":1,"ids":["marker"]}']);
    await eventually(() => those.forEach(({ heard }) => expect(heard).toContain("marker")), generous);
  }

  it("have it checked through a pool that works, when that of the first has been ended", async () => {
    const pool = ownPool(database.url);
    const first = open(new Database(pool, database.schema));
    const second = open(through(database.url));
    await untilListening(first);
    await untilListening(second);
    await pool.end();
    proxy.strand();
    await eventually(() => expect(second.notifications.report.reconnects).toBe(1), generous);
    await untilListening(second);
    await expectToHear(first, second);
  });

  it("are told which pool reaches another server, and that one polls", async () => {
    // Another database of the same server is as far away.
    const elsewhere = new URL(database.url);
    elsewhere.pathname = "/template1";
    const first = open(through(elsewhere.href), "the first");
    const second = open(through(database.url), "the second");
    await eventually(() => expect(first.notifications.report.problem).toContain("another server"), generous);
    await untilListening(second);
    expect(first.notifications.report).toMatchObject({ status: "polling", reconnects: 0 });
    expect(second.notifications.report).toMatchObject({ problem: undefined, reconnects: 0 });
    expect(warnings).toEqual([expect.stringMatching(/^the first: .*another server/)]);
  });

  it("hear again shortly after the path of their notifications is repaired, whenever it broke", async () => {
    const [real, sent] = [through(database.url), through(database.url)];
    let isLost = true;
    jest.spyOn(sent, "query").mockImplementation(async (...of) => (isLost ? [] : real.query(...of)));
    const only = open(sent);
    await eventually(() => expect(only.notifications.report.problem).toContain("no notification arrives"), generous);
    isLost = false;
    await untilListening(only);
    isLost = true;
    await eventually(() => expect(only.notifications.report.problem).toContain("no notification arrives"), generous);
    isLost = false;
    await untilListening(only);
    expect(only.notifications.report).toMatchObject({ reconnects: 1, problem: undefined });
    await expectToHear(only);
  });

  it("no longer say that they listen from the moment in which the connection is lost", async () => {
    const first = open(through(database.url));
    await untilListening(first);
    const heard: string[] = [];
    first.notifications.status$.subscribe((status) => heard.push(status));
    // It cannot be ended politely any more, which takes a moment.
    proxy.strand();
    await eventually(() => expect(heard[1]).toBe("connecting"), generous);
    const second = open(through(database.url));
    expect(second.notifications.report.status).toBe("connecting");
    await untilListening(second);
    await expectToHear(first, second);
  });
});
