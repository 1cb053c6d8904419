import { escapeIdentifier } from "pg";
import type { PruneReport } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("prune", () => {
  const database = specDatabase("prune");
  const table = `${escapeIdentifier(database.schema)}.kojin_results`;
  const count = async (): Promise<unknown> => (await database.sql(`select count(*)::int from ${table}`))[0]?.["count"];
  const fill = async (rows: number, expires: string): Promise<unknown> =>
    database.sql(
      `insert into ${table} (task_id, result, expires_at) select gen_random_uuid(), '1', ${expires} from generate_series(1, $1) as i`,
      [rows],
    );

  beforeEach(async () => {
    await database.sql(`delete from ${table}`);
  });

  it("deletes expired rows only", async () => {
    const backend = await database.open();
    await fill(2_500, "now() - interval '1 second'");
    await fill(10, "now() + interval '1 hour'");
    await fill(10, "null");
    const reports: PruneReport[] = [];
    expect(await backend.prune({ onProgress: (report) => reports.push(report) })).toEqual({
      results: 2_500,
      groups: 0,
      streams: 0,
    });
    expect(reports).toEqual([
      { results: 1_000, groups: 0, streams: 0 },
      { results: 2_000, groups: 0, streams: 0 },
      { results: 2_500, groups: 0, streams: 0 },
    ]);
    expect(await count()).toBe(20);
    expect(await backend.prune()).toEqual({ results: 0, groups: 0, streams: 0 });
  });

  it("keeps rows that expired less than olderThanMs ago", async () => {
    const backend = await database.open();
    await fill(5, "now() - interval '1 minute'");
    await fill(5, "now() - interval '1 hour'");
    expect(await backend.prune({ olderThanMs: 1_800_000 })).toEqual({ results: 5, groups: 0, streams: 0 });
    expect(await count()).toBe(5);
  });

  it("skips rows that another session has locked", async () => {
    const backend = await database.open();
    await fill(10, "now() - interval '1 minute'");
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query(`select from ${table} limit 3 for update`);
    expect(await backend.prune()).toEqual({ results: 7, groups: 0, streams: 0 });
    await client.query("rollback");
    client.release();
    expect(await backend.prune()).toEqual({ results: 3, groups: 0, streams: 0 });
  });

  it("shares the work with other processes that prune at the same time", async () => {
    await fill(5_000, "now() - interval '1 minute'");
    const backends = await Promise.all([1, 2, 3, 4].map(async () => database.open()));
    const reports = await Promise.all(backends.map(async (backend) => backend.prune({ batchRows: 100 })));
    const first = reports.reduce((sum, { results }) => sum + results, 0);
    const rest = await backends[0]?.prune();
    expect(first + (rest?.results ?? 0)).toBe(5_000);
  });

  it("deletes in smaller batches if a statement takes longer than 5 s on the server", async () => {
    const backend = await database.open();
    await fill(400, "now() - interval '1 minute'");
    // Like a trigger of the application, or a slow disk.
    await database.sql(
      `create function ${escapeIdentifier(database.schema)}.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return old; end $$`,
    );
    await database.sql(
      `create trigger slow before delete on ${table} for each row execute function ${escapeIdentifier(database.schema)}.slow()`,
    );
    const reports: PruneReport[] = [];
    try {
      expect(await backend.prune({ onProgress: (report) => reports.push(report) })).toEqual({
        results: 400,
        groups: 0,
        streams: 0,
      });
    } finally {
      await database.sql(`drop trigger slow on ${table}`);
    }
    expect(reports.length).toBeGreaterThan(1);
  }, 60_000);

  it("deletes no more than a batch at once, whatever the plan", async () => {
    const url = new URL(database.url);
    // The planner may select the rows of a batch again for each row of the table.
    const off = ["hashjoin", "mergejoin", "hashagg", "sort", "indexscan", "indexonlyscan", "bitmapscan", "material"];
    url.searchParams.set("options", off.map((method) => `-c enable_${method}=off`).join(" "));
    const backend = await database.open({}, url.href);
    await fill(100, "now() - interval '1 minute'");
    const counts: number[] = [];
    await backend.prune({ batchRows: 10, onProgress: ({ results }) => counts.push(results) });
    expect(counts).toEqual([10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
  });

  it("stops when its signal aborts, and keeps what it deleted", async () => {
    const backend = await database.open();
    await fill(100, "now() - interval '1 minute'");
    const controller = new AbortController();
    const pruning = backend.prune({
      batchRows: 10,
      signal: controller.signal,
      onProgress: ({ results }) => {
        if (results === 30) controller.abort(new Error("enough"));
      },
    });
    await expect(pruning).rejects.toThrow("enough");
    expect(await count()).toBe(70);
  });

  it.each([{ batchRows: 0 }, { batchRows: 1.5 }, { olderThanMs: -1 }, { olderThanMs: NaN }])(
    "refuses %j",
    async (options) => {
      const backend = await database.open();
      await expect(backend.prune(options)).rejects.toBeInstanceOf(RangeError);
    },
  );

  it("runs at pruneIntervalMs, and stops with the backend", async () => {
    await fill(5, "now() - interval '1 minute'");
    const backend = await database.open({ pruneIntervalMs: 1_000 });
    await eventually(async () => expect(await count()).toBe(0));
    await backend.close();
  });
});
