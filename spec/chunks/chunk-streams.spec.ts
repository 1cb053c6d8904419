import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("chunks$", () => {
  const database = specDatabase("chunk streams");
  const schema = escapeIdentifier(database.schema);

  /** Stores chunks of a task at once, as text of a length. */
  const fill = async (taskId: string, count: number, length: number): Promise<void> => {
    await database.sql(
      `select count(${schema}.kojin_emit($1, to_jsonb(repeat('x', $3) || i))) from generate_series(1, $2) as i`,
      [taskId, count, length],
    );
  };

  it("reads a long stream in pages", async () => {
    const backend = await database.open();
    await fill("long", 5_000, 1_000);
    await backend.store("long", null);
    const chunks = await lastValueFrom(backend.chunks$<string>("long").pipe(toArray()));
    expect(chunks.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 5_000 }, (_, index) => index + 1));
    // 5 MB, about a megabyte each.
    expect(backend.stats().reads.statements).toBeGreaterThanOrEqual(4);
    expect(backend.stats().reads.statements).toBeLessThan(20);
  });

  it("reads the next page for a loop only once the last one is used up", async () => {
    const backend = await database.open();
    await fill("slow", 3_000, 1_000);
    await backend.store("slow", null);
    const iterator = backend.chunks$("slow")[Symbol.asyncIterator]();
    await iterator.next();
    await eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
    const { statements } = backend.stats().reads;
    expect(backend.stats().waitingChunks).toBe(0);
    for (let read = 1; read < 300; read += 1) await iterator.next();
    expect(backend.stats().reads.statements).toBe(statements);
    let count = 300;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) count += 1;
    expect(count).toBe(3_000);
    expect(backend.stats().reads.statements).toBeGreaterThan(statements);
  });

  it("reads the streams of many tasks together, and those at the same place once", async () => {
    const [backend, emitting] = [await database.open(), await database.open()];
    await backend.ready();
    const ids = Array.from({ length: 50 }, (_, index) => `many ${index}`);
    await Promise.all(ids.map(async (taskId) => emitting.emit(taskId, 1)));
    const streams = ids.flatMap((taskId) =>
      [1, 2, 3].map(async () => lastValueFrom(backend.chunks$(taskId).pipe(toArray()))),
    );
    await eventually(() =>
      expect(backend.stats()).toMatchObject({ waitingChunks: 50, reads: { queued: 0, inFlight: 0 } }),
    );
    expect(backend.stats().reads.statements).toBeLessThan(5);
    await Promise.all(ids.map(async (taskId) => emitting.emit(taskId, 2)));
    await Promise.all(ids.map(async (taskId) => emitting.store(taskId, null)));
    for (const chunks of await Promise.all(streams)) expect(chunks).toHaveLength(2);
    expect(backend.stats().reads.statements).toBeLessThan(30);
  });

  it("emits chunks of any size, and errors for one that is too large for the reader", async () => {
    const [backend, small] = [await database.open(), await database.open({ maxResultBytes: 100_000 })];
    const sizes = [10, 3_000_000, 20, 90_000, 1_500_000];
    for (const size of sizes) await backend.emit("large", "x".repeat(size));
    await backend.store("large", null);
    const chunks = await lastValueFrom(backend.chunks$<string>("large").pipe(toArray()));
    expect(chunks.map((chunk) => (chunk.kind === "chunk" ? chunk.value.length : -1))).toEqual(sizes);
    const seen: number[] = [];
    const reading = small.chunks$("large").forEach(({ sequence }) => seen.push(sequence));
    await expect(reading).rejects.toMatchObject({ name: "ResultEncodingError", taskId: "large" });
    expect(seen).toEqual([1]);
  });

  it("goes on after an outage, with the chunks emitted meanwhile", async () => {
    const backend = await database.open();
    await backend.ready();
    const seen: number[] = [];
    const following = backend.chunks$("outage").forEach(({ sequence }) => seen.push(sequence));
    await backend.emit("outage", 1);
    await eventually(() => expect(seen).toEqual([1]));
    await database.terminateListeners();
    await backend.emit("outage", 2);
    for (const { pid } of await database.connections()) await database.sql("select pg_terminate_backend($1)", [pid]);
    await backend.emit("outage", 3);
    await backend.store("outage", null);
    await following;
    expect(seen).toEqual([1, 2, 3]);
  });
});
