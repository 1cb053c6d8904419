import { escapeIdentifier } from "pg";
import { WaitTimeoutError, type PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

const patienceMs = 20_000;

describe("a result that comes inline, with a notification that is late", () => {
  const database = specDatabase("inline");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;
  let proxy: TcpProxy;
  let backend: PostgresResultBackend;
  let plain: PostgresResultBackend;

  beforeAll(async () => {
    proxy = await TcpProxy.start(database.url);
  });
  afterAll(async () => proxy.stop());
  beforeEach(async () => {
    proxy.delayMs = 0;
    backend = await database.open({ inlineResultBytes: 1_000, listen: { connection: proxy.route(database.url) } });
    plain = await database.open();
    await backend.ready();
  });

  const idle = async (): Promise<void> =>
    eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }), {
      timeoutMs: patienceMs,
    });

  it("does not end a wait or a stream that began after it was deleted", async () => {
    proxy.delayMs = 30;
    for (let round = 0; round < 10; round += 1) {
      const taskId = `deleted ${round}`;
      if (round % 2 === 0) await backend.store(taskId, "deleted");
      else await backend.fail(taskId, new Error("deleted"));
      await backend.delete(taskId);
      const seen: unknown[] = [];
      const note = (each: unknown): void => void seen.push(each);
      const subscription = backend.result$(taskId).subscribe({ next: note, error: note });
      // Longer than the notification takes: a marker that is sent after it is heard first.
      const wait = backend.wait(taskId, 500);
      wait.catch(() => undefined);
      await backend.store(`marker ${round}`, 1);
      await expect(wait).rejects.toBeInstanceOf(WaitTimeoutError);
      expect(seen).toEqual([]);
      subscription.unsubscribe();
    }
    expect(backend.stats().wokenBy.inline).toBe(0);
  });

  it("does not hide what replaced it, with and without being inline", async () => {
    proxy.delayMs = 30;
    for (let round = 0; round < 5; round += 1) {
      const taskId = `replaced ${round}`;
      await backend.store(taskId, "first");
      await plain.store(taskId, "second");
      expect(await backend.wait(taskId, patienceMs)).toBe("second");
      await backend.store(taskId, "third");
      expect(await backend.wait(taskId, patienceMs)).toBe("third");
    }
  });

  it.each(["1 hour", "1000 years"])(
    "is not believed where it bears a time that is yet to come, by %s",
    async (ahead) => {
      const wait = backend.wait(`future by ${ahead}`, patienceMs);
      await eventually(() => expect(backend.stats().status).toBe("listening"), { timeoutMs: patienceMs });
      await idle();
      const client = await database.pool.connect();
      await client.query("begin");
      await client.query("set local kojin.inline_bytes = 1000");
      await client.query(`insert into ${results} (task_id, result, stored_at) values ($1, '1', now() + $2::interval)`, [
        `future by ${ahead}`,
        ahead,
      ]);
      await client.query("commit");
      client.release();
      expect(await wait).toBe(1);
      expect(backend.stats().wokenBy).toMatchObject({ inline: 0, notification: 1 });
    },
  );

  it("ends a wait that began before, also where an earlier result is kept or the task failed", async () => {
    // Longer than it takes to read the server's clock, by which the two are compared.
    for (const [taskId, store] of [
      ["stored", () => backend.store("stored", 1)],
      ["kept", () => backend.store("kept", 1, { onConflict: "keep" })],
      ["failed", () => backend.fail("failed", new Error("no"))],
    ] as const) {
      const { inline } = backend.stats().wokenBy;
      const wait = backend.waitSettled(taskId, patienceMs);
      await idle();
      await database.sql("select pg_sleep(0.05)");
      await store();
      expect((await wait).status).toBe(taskId === "failed" ? "rejected" : "fulfilled");
      expect(backend.stats().wokenBy.inline).toBe(inline + 1);
    }
  });

  it("ends waits of one task by when each began", async () => {
    const early = backend.wait("shared", patienceMs);
    await idle();
    await database.sql("select pg_sleep(0.05)");
    proxy.delayMs = 100;
    await backend.store("shared", "first");
    await plain.store("shared", "second");
    const late = backend.wait("shared", patienceMs);
    expect([["first", "second"], await late]).toEqual([expect.arrayContaining([await early]), "second"]);
  });

  it("is emitted by a stream of all results once, and the latest one of a task last", async () => {
    const seen: [string, unknown][] = [];
    backend.results$().subscribe({
      next: (outcome) => seen.push([outcome.taskId, outcome.status === "fulfilled" && outcome.value]),
      error: () => undefined,
    });
    await backend.store("begins", 0);
    await eventually(() => expect(seen).toContainEqual(["begins", 0]), { timeoutMs: patienceMs });
    proxy.delayMs = 30;
    for (let value = 1; value <= 5; value += 1) await (value % 2 === 0 ? plain : backend).store("again", value);
    await backend.store("ends", 0);
    await eventually(() => expect(seen).toContainEqual(["ends", 0]), { timeoutMs: patienceMs });
    const values = seen.filter(([taskId]) => taskId === "again").map(([, value]) => value);
    await eventually(() => expect(seen.findLast(([taskId]) => taskId === "again")).toEqual(["again", 5]), {
      timeoutMs: patienceMs,
    });
    expect(values.toSorted()).toEqual(values);
    expect(new Set(values).size).toBe(values.length);
  });

  it("is read where the server's clock is not known, without a query of a backend that does not use it", async () => {
    const fresh = await database.open({ inlineResultBytes: 1_000 });
    await fresh.wait("nothing", 0).catch(() => undefined);
    const wait = fresh.wait("unknown clock", patienceMs);
    await backend.store("unknown clock", 1);
    expect(await wait).toBe(1);
    const { queries } = plain.stats();
    await plain.ready();
    expect(plain.stats().queries).toBe(queries);
  });
});
