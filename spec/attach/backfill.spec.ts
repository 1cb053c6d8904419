import { escapeIdentifier } from "pg";
import { specDatabase } from "../support/spec-database";
import { JobsTable } from "./support/jobs-table";

describe("jobs that finished before their queue was attached", () => {
  const database = specDatabase("attach backfill");
  const schema = `${database.schema} queue`;
  const tableOf = async (name: string, rest?: string, key?: string): Promise<JobsTable> =>
    new JobsTable(database, schema, name).create(rest, key);

  it("end waits, page after page, in all partitions", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("large", "partition by hash (id)", "not null")];
    for (const part of [0, 1])
      await database.sql(
        `create table ${escapeIdentifier(schema)}.part_${part} partition of ${jobs.name} for values with (modulus 2, remainder ${part})`,
      );
    const count = 6_000;
    await database.sql(
      `insert into ${jobs.name} (id, state, output)
       select 'old ' || i, case when i % 2 = 0 then 'completed' else 'created' end, to_json(repeat('x', 500) || i)
       from generate_series(1, ${count}) as i`,
    );
    const wait = backend.wait<string>("old 2", 20_000);
    const progress: number[] = [];
    const report = await backend.attachQueue(jobs.queue, { schema, onProgress: ({ copied }) => progress.push(copied) });
    expect(report).toMatchObject({ copied: count / 2, skipped: 0 });
    // Several statements for each partition.
    expect(progress.length).toBeGreaterThan(3);
    expect((await wait).endsWith("x2")).toBe(true);
    expect(await backend.getSettled("old 1")).toBeUndefined();
    expect(await backend.attachQueue(jobs.queue, { schema })).toMatchObject({ copied: 0, skipped: 0 });
  });

  it("are skipped alone if their outcome cannot be stored, and replace only what has expired", async () => {
    const [backend, jobs] = [await database.open(), await tableOf("some")];
    await jobs.add("good", "nul", "stored", "expired", "failed", "open");
    for (const id of ["good", "stored", "expired"]) await jobs.complete(id, `copied ${id}`);
    await jobs.fail("failed", { name: "OldError", message: "no" });
    await database.sql(`update ${jobs.name} set state = 'completed', output = '"\\u0000"' where id = 'nul'`);
    await backend.store("stored", "by its worker");
    await backend.store("expired", 1, { ttlMs: 1 });
    await backend.attachQueue(jobs.queue, { schema, backfill: false });
    expect(await backend.get("good")).toBeUndefined();
    expect(await backend.attachQueue(jobs.queue, { schema })).toMatchObject({ copied: 3, skipped: 1 });
    const settled = await Promise.all(
      ["good", "nul", "stored", "expired", "failed", "open"].map(async (id) => backend.getSettled(id)),
    );
    expect(settled).toMatchObject(
      [
        { value: "copied good" },
        {},
        { value: "by its worker" },
        { value: "copied expired" },
        { reason: { failure: { name: "OldError", message: "no" } } },
        {},
      ].map((each, index) => ([1, 5].includes(index) ? undefined : each)),
    );
  });
});
