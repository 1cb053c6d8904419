import { Pool, escapeIdentifier } from "pg";
import { config } from "rxjs";
import { BackendClosedError, PostgresResultBackend } from "kojin-postgres";
import { Database } from "../../lib/database/database";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("what the driver does not do by itself", () => {
  const database = specDatabase("driver");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;

  const terminate = async (name: string): Promise<void> => {
    await database.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", [name]);
  };

  it("connections of the pool that are terminated, idle or at work, end no process and fail no call", async () => {
    const name = `${database.schema} pool`;
    const backend = await database.open({}, withParameter(database.url, "application_name", name));
    await backend.store("idle", 1);
    await terminate(name);
    expect(await backend.get("idle")).toBe(1);
    const lock = await database.pool.connect();
    await lock.query(`begin; lock table ${results} in access exclusive mode`);
    const stored = backend.store("at work", 2);
    await eventually(async () =>
      expect(
        await database.sql("select from pg_stat_activity where application_name = $1 and wait_event = 'relation'", [
          name,
        ]),
      ).toHaveLength(1),
    );
    await terminate(name);
    await lock.query("rollback");
    lock.release();
    await stored;
    expect(await backend.get("at work")).toBe(2);
  });

  it("a query that is given up takes its connection along, and the next one gets another", async () => {
    const proxy = await TcpProxy.start(database.url);
    const pool = new Pool({ connectionString: proxy.route(database.url), max: 1 });
    pool.on("error", () => undefined);
    const queries = new Database(pool, database.schema);
    const ask = async (text: string, limitMs: number): Promise<unknown> =>
      queries.query({ purpose: "ask", text, values: [] }, limitMs);
    await expect(ask("select pg_sleep(20)", 200)).rejects.toMatchObject({ code: "DATABASE", transient: true });
    expect(pool.totalCount).toBe(0);
    expect(await ask("select 1", 5_000)).toEqual([[1]]);
    expect(pool.totalCount).toBe(1);
    await pool.end();
    await proxy.stop();
    await database.sql("select pg_cancel_backend(pid) from pg_stat_activity where query = 'select pg_sleep(20)'");
  });

  it("a transaction whose statement is given up asks nothing more of its connection", async () => {
    const proxy = await TcpProxy.start(database.url);
    const pool = new Pool({ connectionString: proxy.route(database.url), max: 1 });
    const queries = new Database(pool, database.schema);
    const limits = { timeoutMs: 2_000, beginTimeoutMs: 2_000 };
    const work = queries.transaction("wait", limits, async (client) => {
      // The server would otherwise end the statement at the same time.
      proxy.strand();
      return client.query("select 1", []);
    });
    await expect(work).rejects.toMatchObject({ code: "DATABASE", transient: true });
    expect([pool.totalCount, queries.queries]).toEqual([0, 1]);
    const refused = queries.transaction("divide", limits, async (client) => client.query("select 1 / 0", []));
    await expect(refused).rejects.toMatchObject({ code: "DATABASE", sqlState: "22012" });
    // That one was rolled back, and its connection kept.
    expect([pool.totalCount, queries.queries]).toEqual([1, 3]);
    await pool.end();
    await proxy.stop();
  });

  it("a pool of one connection serves a hundred calls of every kind at once", async () => {
    const backend = await database.open({}, withParameter(database.url, "max", "1"));
    await backend.initGroup("one", 100);
    const calls = Array.from({ length: 100 }, (_, index) => index).flatMap((index) => [
      backend.store(`one ${index}`, index),
      backend.wait(`one ${index}`, 20_000),
      backend.completeGroupMember("one", `member ${index}`, index),
      backend.get("nothing"),
      backend.delete("nothing"),
      backend.getGroup("one"),
    ]);
    await Promise.all([...calls, backend.waitGroup("one", 20_000), backend.prune(), backend.health()]);
    expect(await backend.getGroupResults("one")).toHaveLength(100);
  });

  it("a column that is added under load fails no call", async () => {
    const backend = await database.open();
    const over = new AbortController();
    const load = (async (): Promise<number> => {
      let rounds = 0;
      for (; !over.signal.aborted; rounds += 1) {
        const waits = backend.wait(`ddl ${rounds}`, 20_000);
        await backend.store(`ddl ${rounds}`, rounds);
        expect(await waits).toBe(rounds);
      }
      return rounds;
    })();
    for (let index = 0; index < 5; index += 1) {
      const { rows } = backend.stats().stores;
      await database.sql(`alter table ${results} add column extra_${index} int default ${index}`);
      await eventually(() => expect(backend.stats().stores.rows).toBeGreaterThan(rows + 5));
    }
    over.abort();
    expect(await load).toBeGreaterThan(25);
    for (let index = 0; index < 5; index += 1) await database.sql(`alter table ${results} drop column extra_${index}`);
  });

  it("numbers beyond what an int holds come back as they are", async () => {
    const backend = await database.open();
    await backend.initGroup("large", 2);
    await database.sql(`select setval('${escapeIdentifier(database.schema)}.kojin_group_seq', 9007199254740000)`);
    const members: string[] = [];
    const done = new Promise((resolve, reject) =>
      backend.groupMembers$("large").subscribe({
        next: ({ taskId }) => members.push(taskId),
        error: reject,
        complete: () => resolve(undefined),
      }),
    );
    await backend.completeGroupMember("large", "a", Number.MAX_SAFE_INTEGER);
    await backend.completeGroupMember("large", "b", -0.1);
    await done;
    expect(members).toEqual(["a", "b"]);
    expect(await backend.getGroupResults("large")).toEqual([Number.MAX_SAFE_INTEGER, -0.1]);
  });

  it("a subscriber that throws harms no other", async () => {
    const [backend, storing] = [await database.open(), await database.open()];
    const unhandled: unknown[] = [];
    config.onUnhandledError = (error) => unhandled.push(error);
    try {
      const fail = (): never => {
        throw new Error("a subscriber's own");
      };
      const heard: string[] = [];
      const throwing = backend.results$().subscribe(fail);
      const subscription = backend.results$().subscribe(({ taskId }) => heard.push(taskId));
      backend.result$("thrown").subscribe(fail);
      backend.group$("thrown").subscribe(fail);
      const waits = [backend.wait("thrown", 20_000), backend.waitGroup("thrown", 20_000)];
      await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
      await storing.store("thrown", 1);
      await storing.initGroup("thrown", 0);
      expect(await Promise.all(waits)).toEqual([1, []]);
      await storing.store("thrown too", 2);
      await eventually(() => expect(heard).toEqual(["thrown", "thrown too"]));
      // RxJS reports each a moment later: two of results$, and one each of the others.
      await eventually(() => expect(unhandled).toHaveLength(4));
      subscription.unsubscribe();
      throwing.unsubscribe();
    } finally {
      config.onUnhandledError = null;
    }
  });

  it("closing rejects each of 10 000 open waits once, and nothing else", async () => {
    const backend = await PostgresResultBackend.connect(database.poolUrl, { schema: database.schema });
    let settled = 0;
    const waits = Array.from({ length: 10_000 }, async (_, index) =>
      backend.wait(`open ${index % 5_000}`, index % 2 === 0 ? Infinity : 60_000).then(
        () => "resolved",
        (error: unknown) => {
          settled += 1;
          return error instanceof BackendClosedError ? "closed" : String(error);
        },
      ),
    );
    await eventually(() => expect(backend.stats().waiting).toBe(5_000));
    await backend.close();
    expect(new Set(await Promise.all(waits))).toEqual(new Set(["closed"]));
    expect(settled).toBe(10_000);
    expect(backend.stats().waiting).toBe(0);
  });
});
