import { escapeIdentifier } from "pg";
import { ResultEncodingError, type TaskOutcome } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("large results", () => {
  const database = specDatabase("large results");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;
  const text = (bytes: number): string =>
    Array.from({ length: bytes / 8 }, () => Math.random().toString(36).slice(2, 10).padEnd(8, "x")).join("");

  it("arrive one after another over a slow link, each in less time than all of them take", async () => {
    const proxy = await TcpProxy.start(database.url);
    try {
      const storing = await database.open();
      const value = text(1024 * 1024);
      const ids = Array.from({ length: 12 }, (_, index) => `slow ${index}`);
      for (const id of ids) await storing.store(id, value);
      // Each takes 250 ms, three seconds in all, while a statement is abandoned if nothing arrives for half a second.
      const watching = await database.open({ retryTimeoutMs: 1_000, listen: false }, proxy.route(database.url));
      proxy.bytesPerSecond = 4 * 1024 * 1024;
      const arrived: string[] = [];
      await Promise.all(
        ids.map(async (id) => {
          expect(await watching.wait<string>(id, 50_000)).toBe(value);
          arrived.push(id);
        }),
      );
      // One statement for all, which returns no values, and one for each.
      expect(watching.stats().reads.statements).toBeGreaterThanOrEqual(ids.length);
      expect(watching.stats().reads.retries).toBe(0);
    } finally {
      await proxy.stop();
    }
  });

  it("that take longer than a statement may be silent arrive, too", async () => {
    const proxy = await TcpProxy.start(database.url);
    try {
      const storing = await database.open();
      const value = text(8 * 1024 * 1024);
      await storing.store("huge", value);
      const watching = await database.open({ retryTimeoutMs: 1_000, listen: false }, proxy.route(database.url));
      proxy.bytesPerSecond = 3 * 1024 * 1024;
      expect(await watching.wait<string>("huge", 50_000)).toBe(value);
    } finally {
      await proxy.stop();
    }
  });

  it("are read with small ones in a few statements", async () => {
    const [storing, watching] = [await database.open(), await database.open({ listen: false })];
    const ids = Array.from({ length: 300 }, (_, index) => `mixed ${index}`);
    await Promise.all(
      ids.map(async (id, index) => storing.store(id, index % 100 === 0 ? text(2 * 1024 * 1024) : text(8 * 1024))),
    );
    const before = watching.stats().reads.statements;
    const values = await Promise.all(ids.map(async (id) => watching.get<string>(id)));
    expect(values.map((value) => value?.length)).toEqual(
      ids.map((_, index) => (index % 100 === 0 ? 2 : 1 / 128) * 1024 * 1024),
    );
    expect(watching.stats().reads.statements - before).toBeLessThan(20);
  });

  describe("that are small where they are stored, and longer than may be read", () => {
    const isUnreadable = expect.objectContaining({ name: "ResultEncodingError", taskId: "grown" }) as unknown;
    const insert = async (id: string, numbers: number, column = "result"): Promise<void> => {
      const value = `(pg_catalog.concat('[', pg_catalog.repeat('1e131000,', ${numbers}), '1]'))::jsonb`;
      await database.sql(
        column === "result"
          ? `insert into ${results} (task_id, result) values ($1, ${value})`
          : `insert into ${results} (task_id, result, error) values ($1, 'null', ${value})`,
        [id],
      );
    };

    it.each(["result", "error"])("concern nobody else: %s", async (column) => {
      await database.sql(`delete from ${results}`);
      // 26 MB of text where 1.5 MB may be read. SQL's rows are announced by the trigger alone, which NATS does not
      // carry.
      const options = { maxResultBytes: 1024 * 1024, sweepIntervalMs: 1_000 };
      const [storing, watching] = [await database.open(), await database.open(options)];
      const outcomes: TaskOutcome<unknown>[] = [];
      const errors: unknown[] = [];
      watching
        .results$()
        .subscribe({ next: (outcome) => outcomes.push(outcome), error: (error) => errors.push(error) });
      await watching.ready();
      const waits = [watching.wait("grown", 30_000), watching.wait("other", 30_000)].map(async (wait) =>
        wait.catch((error: unknown) => error),
      );
      await insert("grown", 200, column);
      await storing.store("other", 1);
      expect(await Promise.all(waits)).toEqual([isUnreadable, 1]);
      await expect(watching.get("grown")).rejects.toBeInstanceOf(ResultEncodingError);
      await expect(watching.getSettled("grown")).rejects.toEqual(isUnreadable);
      expect(await Promise.allSettled([watching.get("grown"), watching.get("other")])).toEqual([
        { status: "rejected", reason: isUnreadable },
        { status: "fulfilled", value: 1 },
      ]);
      await eventually(() => expect(outcomes).toHaveLength(2));
      expect(outcomes).toEqual(
        expect.arrayContaining([
          { taskId: "grown", status: "rejected", reason: isUnreadable },
          { taskId: "other", status: "fulfilled", value: 1 },
        ]),
      );
      expect(errors).toEqual([]);
    });

    it("are read where there is room for them", async () => {
      const backend = await database.open();
      await insert("room", 20);
      expect(await backend.get<number[]>("room")).toHaveLength(21);
    });
  });
});
