import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { PgBouncer } from "../support/pgbouncer";
import { describeWithPgBouncer } from "../support/where";
import { eventually } from "../support/eventually";
import { errorResponse, TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";
import { Streams } from "./support/streams";

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix} ${index}`);

describe("an outage that is longer than any retry", () => {
  const suite = faultSuite();
  let proxy: TcpProxy;
  let writer: PostgresResultBackend;

  beforeAll(async () => {
    proxy = await TcpProxy.start(suite.server.url);
    writer = await suite.open();
  });
  afterAll(async () => proxy.stop());

  describe.each([
    ["a socket that is reset", undefined],
    ["08P01, as PgBouncer refuses", errorResponse("FATAL", "08P01", "server login has been failing")],
    ["XX000, as other poolers refuse", errorResponse("FATAL", "XX000", "tenant not found")],
    ["57P04", errorResponse("FATAL", "57P04", "database was dropped")],
    ["3D000", errorResponse("FATAL", "3D000", "database does not exist")],
    ["28P01", errorResponse("FATAL", "28P01", "password authentication failed")],
    ["42501, though of the class of statements", errorResponse("FATAL", "42501", "permission denied")],
    ["a code that is unknown, with severity ERROR", errorResponse("ERROR", "ZZ999", "no")],
    ["a severity in another language", errorResponse("ВАЖНО", "28000", "нет")],
  ])("by %s", (prefix, refusal) => {
    it("ends no stream and no wait, and a write after its own time only", async () => {
      proxy.mode = "pass";
      const backend = await suite.open({ retryTimeoutMs: 400 }, proxy.route(suite.server.url));
      await writer.initGroup(`${prefix} group`, ["a", "b"]);
      const streams = new Streams(backend, prefix);
      const wait = backend.wait(`${prefix} task`, 120_000);
      const waitGroup = backend.waitGroup(`${prefix} group`, 120_000);
      await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
      await eventually(() => expect(streams.seen["groupChanges"]).toHaveLength(1));

      proxy.refusal = refusal;
      proxy.mode = "refuse";
      proxy.cut();
      await writer.store(`${prefix} task`, 1);
      await writer.completeGroupMember(`${prefix} group`, "a", 1);
      await writer.completeGroupMember(`${prefix} group`, "b", 2);
      for (let round = 0; round < 3; round += 1)
        await expect(backend.store("refused", 1)).rejects.toMatchObject({ name: "DatabaseError", transient: true });
      await eventually(() => expect(backend.stats().sweeps).toBeGreaterThan(2), { timeoutMs: 20_000 });
      expect(streams.errors).toEqual({});

      proxy.mode = "pass";
      expect([await wait, await waitGroup]).toEqual([1, [1, 2]]);
      const progress = { groupId: `${prefix} group`, total: 2, completed: 2, failed: 0, done: true };
      await eventually(
        () => {
          expect(streams.seen["result"]).toEqual([1]);
          expect(streams.seen["results"]).toMatchObject([{ taskId: `${prefix} task`, value: 1 }]);
          expect(streams.seen["group"]?.at(-1)).toEqual(progress);
          expect(streams.seen["groupMembers"]).toMatchObject([{ taskId: "a" }, { taskId: "b" }]);
          expect(streams.seen["groupResults"]).toEqual([[1, 2]]);
          expect(streams.seen["groupCompletions"]).toEqual([progress]);
          expect(streams.seen["groupChanges"]?.at(-1)).toEqual(progress);
        },
        { timeoutMs: 30_000 },
      );
      expect(streams.errors).toEqual({});
      streams.unsubscribe();
      await backend.close();
    });
  });

  it("keeps nothing of a stream that is unsubscribed meanwhile", async () => {
    proxy.mode = "pass";
    // Over NATS the connection stays, and only a sweep meets the outage.
    const options = { retryTimeoutMs: 400, sweepIntervalMs: 1_000 };
    const backend = await suite.open(options, proxy.route(suite.server.url));
    await writer.initGroup("left", 1);
    const streams = new Streams(backend, "left");
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    proxy.mode = "refuse";
    proxy.cut();
    await eventually(() => expect(backend.stats().sweeps).toBeGreaterThan(1), { timeoutMs: 20_000 });
    streams.unsubscribe();
    const { queries } = backend.stats();
    await expect(backend.get("left")).rejects.toMatchObject({ transient: true });
    expect(backend.stats()).toMatchObject({ waiting: 0, waitingGroups: 0, feeds: 0, queries });
    await backend.close();
  });
});

describe("connect() fails at once", () => {
  const suite = faultSuite();

  it.each([
    ["on a wrong password", { password: "wrong" }, "28P01"],
    ["on a database that is missing", { pathname: "/missing" }, "3D000"],
    ["on a role that is missing", { username: "missing" }, "28P01"],
  ])("%s", async (_what, change, sqlState) => {
    const url = Object.assign(new URL(suite.server.url), change).href;
    const outcome = PostgresResultBackend.connect(url, { retryTimeoutMs: 60_000 });
    await expect(outcome).rejects.toMatchObject({ name: "DatabaseError", sqlState, transient: false });
  });

  it("on a server without TLS, where TLS is asked for; and so does every call", async () => {
    const url = new URL(suite.server.url);
    url.searchParams.set("sslmode", "no-verify");
    const refused = { name: "DatabaseError", sqlState: undefined, transient: false, origin: "connecting" };
    await expect(PostgresResultBackend.connect(url.href)).rejects.toMatchObject(refused);
    const pool = new Pool({ connectionString: url.href });
    const backend = new PostgresResultBackend(pool, { retryTimeoutMs: 60_000, listen: false });
    await expect(backend.store("task", 1)).rejects.toMatchObject(refused);
    await expect(backend.wait("task", 60_000)).rejects.toMatchObject(refused);
    await backend.close();
    await pool.end();
  });
});

describe("a statement that the server cancels", () => {
  const suite = faultSuite();

  it("by the statement_timeout of the role is read again: no wait ends for it", async () => {
    await suite.server.sql("alter database postgres set statement_timeout = '500ms'");
    // The pool of connect() has a limit of its own, which replaces that one.
    const pool = new Pool({ connectionString: suite.server.url });
    const backend = new PostgresResultBackend(pool, { retryTimeoutMs: 800 });
    const waits = names("cancelled", 100).map(async (taskId) => backend.wait(taskId, 60_000));
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    const lock = await suite.connect();
    await lock.query("begin; set local statement_timeout = 0; lock table kojin_results in access exclusive mode");
    const { statements } = backend.stats().reads;
    await suite.server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%er'");
    await eventually(() => expect(backend.stats().reads.statements).toBeGreaterThan(statements + 3), {
      timeoutMs: 20_000,
    });
    await expect(backend.get("cancelled")).rejects.toMatchObject({ name: "DatabaseError", transient: true });
    await lock.query("rollback");
    await Promise.all(names("cancelled", 100).map(async (taskId) => backend.store(taskId, taskId)));
    expect(await Promise.all(waits)).toEqual(names("cancelled", 100));
    await suite.server.sql("alter database postgres reset statement_timeout");
    await backend.close();
    await pool.end();
  });

  it("by hand is sent again, a write as well as a read", async () => {
    const backend = await suite.open({ retryTimeoutMs: 60_000 });
    const lock = await suite.connect();
    await lock.query("begin; lock table kojin_results in access exclusive mode");
    const calls = [backend.store("by hand", 1), backend.wait("by hand", 60_000)];
    await eventually(async () => {
      const cancelled = await suite.server.sql<{ done: boolean }>(
        `select pg_cancel_backend(pid) as done from pg_stat_activity
         where application_name = 'kojin-postgres' and wait_event_type = 'Lock'`,
      );
      expect(cancelled.length).toBeGreaterThan(0);
      expect(backend.stats().stores.retries + backend.stats().reads.retries).toBeGreaterThan(2);
    });
    await lock.query("rollback");
    expect(await Promise.all(calls)).toEqual([undefined, 1]);
    await backend.close();
  });
});

describe("a server that speaks another language", () => {
  const suite = faultSuite();

  /** As `lc_messages` does, with the same length, so that the messages stay whole. */
  const translate = (chunk: Buffer): Buffer =>
    Buffer.from(
      chunk.toString("latin1").replaceAll("SERROR\0V", "SFEHLR\0V").replaceAll("SFATAL\0V", "SFATUM\0V"),
      "latin1",
    );

  it("keeps its connections after errors of statements, and loses only those that it ends", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    proxy.rewrite = translate;
    const [own, other] = [await suite.open({}, proxy.route(suite.server.url)), await suite.open()];
    await suite.server.sql("alter table kojin_results add constraint odd check (task_id <> 'odd')");
    const pids = async (): Promise<unknown[]> =>
      suite.server.sql("select pid from pg_stat_activity where application_name = 'kojin-postgres' order by pid");
    await other.close();
    await own.store("even", 1);
    const before = await pids();
    const refused = { name: "DatabaseError", sqlState: "23514", transient: false, origin: "statement" };
    for (let round = 0; round < 3; round += 1) await expect(own.store("odd", 1)).rejects.toMatchObject(refused);
    // A store may find the connection of the one before still waiting for its notification, and take another.
    expect(await pids()).toEqual(expect.arrayContaining(before));

    const lock = await suite.connect();
    await lock.query("begin; lock table kojin_results in access exclusive mode");
    const stored = own.store("terminated", 1);
    await eventually(async () =>
      expect(
        await suite.server.sql(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where application_name = 'kojin-postgres' and wait_event_type = 'Lock'`,
        ),
      ).toHaveLength(1),
    );
    await lock.query("rollback");
    await stored;
    expect(await own.get("terminated")).toBe(1);
    await suite.server.sql("alter table kojin_results drop constraint odd");
    await own.close();
    await proxy.stop();
  });
});

describeWithPgBouncer()("PgBouncer, while its server is away", () => {
  const suite = faultSuite();

  it("refuses with 08P01, and ends no wait and no stream", async () => {
    const pooler = await PgBouncer.start(suite.server.url, "transaction");
    const options = { listen: { connection: suite.server.url }, retryTimeoutMs: 2_000 };
    const backend = await suite.open(options, pooler.url);
    const streams = new Streams(backend, "pooled");
    const waits = names("pooled", 50).map(async (taskId) => backend.wait(taskId, 120_000));
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await suite.server.stop("fast");
    const causes = new Set<unknown>();
    await eventually(
      async () => {
        const rejection: unknown = await backend.get("pooled").catch((error: unknown) => error);
        expect(rejection).toMatchObject({ name: "DatabaseError", transient: true });
        causes.add((rejection as { sqlState?: unknown }).sqlState);
        expect(causes).toContain("08P01");
      },
      { timeoutMs: 60_000 },
    );
    await suite.server.start();
    await eventually(async () => backend.store("pooled 0", "pooled 0"), { timeoutMs: 60_000, intervalMs: 200 });
    await Promise.all(names("pooled", 50).map(async (taskId) => backend.store(taskId, taskId)));
    expect(await Promise.all(waits)).toEqual(names("pooled", 50));
    await eventually(() => expect(streams.seen["results"]?.length).toBeGreaterThanOrEqual(50), { timeoutMs: 30_000 });
    expect(streams.errors).toEqual({});
    streams.unsubscribe();
    await backend.close();
    await pooler.stop();
  });
});
