import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("streams of chunks", () => {
  const database = specDatabase("chunk expiry");
  const schema = escapeIdentifier(database.schema);

  const count = async (taskId: string): Promise<[streams: number, chunks: number]> => {
    const [row] = await database.sql<{ streams: number; chunks: number }>(
      `select (select count(*)::int from ${schema}.kojin_streams where task_id = $1) as streams,
         (select count(*)::int from ${schema}.kojin_chunks where task_id = $1) as chunks`,
      [taskId],
    );
    return [row?.streams ?? NaN, row?.chunks ?? NaN];
  };
  const expire = async (table: string, taskId: string): Promise<void> => {
    const past = "now() - interval '1 hour'";
    await database.sql(`update ${schema}.${table} set expires_at = ${past} where task_id = $1`, [taskId]);
  };
  const expiry = async (taskId: string): Promise<number> => {
    const [row] = await database.sql<{ ms: number }>(
      `select extract(epoch from expires_at - clock_timestamp())::float8 * 1000 as ms from ${schema}.kojin_streams where task_id = $1`,
      [taskId],
    );
    return row?.ms ?? NaN;
  };

  it("live for ttlMs after the latest chunk, or up to a tenth less", async () => {
    const backend = await database.open({ ttlMs: 100_000 });
    await backend.emit("lives", 1);
    expect(await expiry("lives")).toBeGreaterThan(90_000);
    await database.sql(`update ${schema}.kojin_streams set expires_at = expires_at - interval '5 s'`);
    await backend.emit("lives", 2);
    expect(await expiry("lives")).toBeLessThan(95_100);
    await database.sql(`update ${schema}.kojin_streams set expires_at = expires_at - interval '6 s'`);
    await backend.emit("lives", 3);
    expect(await expiry("lives")).toBeGreaterThan(98_000);
    await backend.withTtl(10_000).emit("lives", 4);
    expect(await expiry("lives")).toBeLessThan(10_001);
    await backend.withTtl(Infinity).emit("lives", 5);
    const [row] = await database.sql(`select expires_at from ${schema}.kojin_streams where task_id = 'lives'`);
    expect(row).toEqual({ expires_at: null });
  });

  it("of a task that emits again after its stream was pruned begin with a restart for those who followed the old one", async () => {
    const [backend, emitting] = [await database.open(), await database.open()];
    const seen: unknown[] = [];
    const following = backend.chunks$<string>("pruned").forEach((chunk) => {
      seen.push(chunk.kind === "chunk" ? chunk.value : chunk.kind);
    });
    for (const value of ["a", "b", "c"]) await emitting.emit("pruned", value);
    await eventually(() => expect(seen).toEqual(["a", "b", "c"]));
    const resumed = backend.chunks$<string>("pruned", { after: 3 })[Symbol.asyncIterator]();
    const next = resumed.next();
    await expire("kojin_streams", "pruned");
    expect(await emitting.prune()).toMatchObject({ streams: 1 });
    await emitting.emit("pruned", "A");
    expect(await next).toMatchObject({ value: { kind: "restart", attempt: 1, sequence: 0 } });
    expect(await resumed.next()).toMatchObject({ value: { value: "A" } });
    await emitting.emit("pruned", "B");
    await emitting.store("pruned", "done");
    await following;
    expect(seen).toEqual(["a", "b", "c", "restart", "A", "B"]);
    expect(await resumed.next()).toMatchObject({ value: { value: "B" } });
    expect(await resumed.next()).toMatchObject({ done: true });
  });

  it("are pruned with the result of their task, however long ago the last chunk was", async () => {
    const backend = await database.open();
    for (const value of [1, 2, 3]) await backend.emit("finished", value);
    await backend.store("finished", "done", { ttlMs: 600_000 });
    await expire("kojin_streams", "finished");
    expect(await backend.countExpired()).toEqual({ results: 0, groups: 0, streams: 0 });
    expect(await backend.prune()).toEqual({ results: 0, groups: 0, streams: 0 });
    expect(await count("finished")).toEqual([1, 3]);
    expect(await lastValueFrom(backend.chunks$("finished").pipe(toArray()))).toHaveLength(3);
    // The prune has moved its expiry to that of the result.
    expect(await expiry("finished")).toBeGreaterThan(590_000);
    await expire("kojin_results", "finished");
    expect(await backend.prune()).toEqual({ results: 1, groups: 0, streams: 0 });
    expect(await count("finished")).toEqual([0, 0]);
  });

  it("are pruned if their task never stored a result", async () => {
    const backend = await database.open();
    for (let task = 0; task < 25; task += 1) await backend.emit(`abandoned ${task}`, task);
    await backend.emit("running", 1);
    await database.sql(
      `update ${schema}.kojin_streams set expires_at = now() - interval '1 hour' where task_id like 'abandoned %'`,
    );
    // Some have a result that lives on, so they stay.
    for (let task = 0; task < 5; task += 1) await backend.store(`abandoned ${task}`, task);
    expect(await backend.countExpired()).toMatchObject({ streams: 20 });
    expect(await backend.prune({ olderThanMs: 7_200_000 })).toMatchObject({ streams: 0 });
    expect(await backend.prune({ batchRows: 3 })).toMatchObject({ streams: 20 });
    expect([await count("abandoned 7"), await count("abandoned 2"), await count("running")]).toEqual([
      [0, 0],
      [1, 1],
      [1, 1],
    ]);
  });

  it("begin another attempt if the task emits after they have expired", async () => {
    const backend = await database.open();
    for (const value of ["old", "older"]) await backend.emit("resumed", value);
    await expire("kojin_streams", "resumed");
    expect(await backend.emit("resumed", "new")).toBe(1);
    await backend.store("resumed", null);
    const chunk = { kind: "chunk", attempt: 2, sequence: 1, value: "new" };
    expect(await lastValueFrom(backend.chunks$("resumed").pipe(toArray()))).toEqual([chunk]);
    expect(await count("resumed")).toEqual([1, 1]);
  });

  it("begin anew if the task emits after its result has expired", async () => {
    const backend = await database.open();
    for (const value of ["old", "older"]) await backend.emit("again", value);
    await backend.store("again", null);
    await expire("kojin_results", "again");
    const following = lastValueFrom(backend.chunks$("again").pipe(toArray()));
    await eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
    expect(await backend.emit("again", "new")).toBe(1);
    await backend.store("again", null);
    const chunk = { kind: "chunk", attempt: 1, sequence: 1, value: "new" };
    expect([await following, await lastValueFrom(backend.chunks$("again").pipe(toArray()))]).toEqual([
      [chunk],
      [chunk],
    ]);
  });

  it("go with a result that anyone deletes, and chunks with their stream", async () => {
    const backend = await database.open();
    for (const taskId of ["one", "other"]) await backend.emit(taskId, 1);
    await backend.store("one", 1);
    await database.sql(`delete from ${schema}.kojin_results where task_id = 'one'`);
    await database.sql(`delete from ${schema}.kojin_streams where task_id = 'other'`);
    expect([await count("one"), await count("other")]).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });

  it("go with results that anyone truncates, but stay while their task runs", async () => {
    const backend = await database.open();
    for (const taskId of ["done", "expired", "in progress"]) await backend.emit(taskId, 1);
    for (const taskId of ["done", "expired"]) await backend.store(taskId, 1);
    await expire("kojin_results", "expired");
    await database.sql(`truncate ${schema}.kojin_results`);
    const counts = await Promise.all(["done", "expired", "in progress"].map(count));
    expect(counts).toEqual([
      [0, 0],
      [0, 0],
      [1, 1],
    ]);
    await expect(backend.get("done", { mustExist: true })).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
    expect(await backend.get("in progress", { mustExist: true })).toBeUndefined();
    expect(await backend.emit("done", "new")).toBe(1);
  });

  it("do not make TRUNCATE wait for a session that has locked one", async () => {
    const backend = await database.open();
    for (const taskId of ["free", "locked"]) {
      await backend.emit(taskId, 1);
      await backend.store(taskId, 1);
    }
    const other = await database.pool.connect();
    await other.query("begin");
    await other.query(`select from ${schema}.kojin_streams where task_id = 'locked' for update`);
    await database.sql(`truncate ${schema}.kojin_results`);
    expect([await count("free"), await count("locked")]).toEqual([
      [0, 0],
      [1, 1],
    ]);
    await other.query(`delete from ${schema}.kojin_streams where task_id = 'locked'`);
    await other.query("commit");
    other.release();
    expect(await count("locked")).toEqual([0, 0]);
  });

  it("may be truncated alone or with other tables, in any order", async () => {
    const backend = await database.open();
    const [results, streams, chunks] = ["results", "streams", "chunks"].map((name) => `${schema}.kojin_${name}`);
    for (const tables of [[streams], [results, streams], [streams, chunks], [chunks, streams, results]]) {
      for (const taskId of ["one", "other"]) await backend.emit(taskId, 1);
      await backend.store("one", 1);
      await database.sql(`truncate ${tables.join(", ")}`);
      expect([await count("one"), await count("other")]).toEqual([
        [0, 0],
        [0, 0],
      ]);
      await database.sql(`truncate ${results}`);
    }
  });
});
