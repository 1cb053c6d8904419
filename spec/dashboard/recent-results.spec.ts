import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { History } from "../../lib/dashboard/history";
import { RecentResults } from "../../lib/dashboard/recent-results";
import { specDatabase } from "../support/spec-database";

describe("recent results", () => {
  const database = specDatabase("dashboard recent results");
  const table = `${escapeIdentifier(database.schema)}.kojin_results`;
  let backend: PostgresResultBackend;

  beforeEach(async () => {
    backend = await database.open();
  });
  afterEach(async () => {
    await database.sql(`truncate ${table}`);
  });

  /** Stores rows in one transaction, a second apart, the last of them some seconds ago. Every tenth has failed. */
  async function insert(name: string, count: number, secondsAgo: number): Promise<void> {
    await database.sql(
      `insert into ${table} (task_id, result, error, stored_at)
       select $1 || n, 'null', case when n % 10 = 0 then '{"name": "Error", "message": "no"}'::jsonb end,
         now() - make_interval(secs => $2::int + ($3::int - n) * 0.01)
       from generate_series(1, $3::int) as n`,
      [name, secondsAgo, count],
    );
  }

  const sum = (values: readonly (number | null)[]): number =>
    values.reduce<number>((total, each) => total + (each ?? 0), 0);
  const gapsIn = (values: readonly (number | null)[]): number => values.filter((each) => each === null).length;

  it("are counted page by page, newest first, with a gap until then", async () => {
    for (const minutesAgo of [90, 50, 30, 10]) await insert(`${minutesAgo} `, 6_000, minutesAgo * 60);
    const history = new History();
    const recent = new RecentResults(backend.core, history, false);
    await recent.readNew();
    // Whole transactions: those of 10 and 30 minutes ago.
    const first = history.series(recent.gaps);
    expect(sum(first.results)).toBeLessThanOrEqual(12_000);
    // Without the point at the end of the gap.
    expect(sum(first.results)).toBeGreaterThanOrEqual(11_000);
    expect(gapsIn(first.results)).toBeGreaterThan(160);
    expect(first.results.at(-1)).toBe(0);
    expect(recent.canReadOlder).toBe(true);
    await recent.readOlder();
    const second = history.series(recent.gaps);
    expect([sum(second.results), sum(second.failures), gapsIn(second.results)]).toEqual([18_000, 1_800, 0]);
    expect(recent.canReadOlder).toBe(false);
    expect(recent.results).toHaveLength(25);
    expect(recent.failures).toHaveLength(25);
    expect(recent.results[0]?.taskId).toBe("10 6000");
  });

  it("are counted once, also where more were stored between two reads than fit into one", async () => {
    const history = new History();
    const recent = new RecentResults(backend.core, history, false);
    await recent.readNew();
    for (const name of ["a ", "b ", "c "]) await insert(name, 6_000, 60);
    await recent.readNew();
    // The last page may have been just full.
    while (recent.canReadOlder) await recent.readOlder();
    await recent.readNew();
    expect(sum(history.series(recent.gaps).results)).toBe(18_000);
  });

  it("of a very large transaction are counted in part, and all that were stored before", async () => {
    await insert("small ", 6_000, 1_800);
    await insert("large ", 120_000, 60);
    const history = new History();
    const recent = new RecentResults(backend.core, history, false);
    await recent.readNew();
    while (recent.canReadOlder) await recent.readOlder();
    expect(sum(history.series(recent.gaps).results)).toBe(106_000);
  });

  it("leave a gap where reading takes too long", async () => {
    await insert("a ", 12_000, 600);
    await insert("b ", 1, 1_200);
    const history = new History();
    const recent = new RecentResults(backend.core, history, false);
    await recent.readNew();
    expect(recent.canReadOlder).toBe(true);
    const lock = await database.pool.connect();
    try {
      await lock.query("begin");
      await lock.query(`lock table ${table} in access exclusive mode`);
      await expect(recent.readOlder()).rejects.toMatchObject({ code: "DATABASE" });
      expect(recent.canReadOlder).toBe(false);
      expect(gapsIn(history.series(recent.gaps).results)).toBeGreaterThan(200);
    } finally {
      await lock.query("rollback");
      lock.release();
    }
    recent.pause();
    await recent.readOlder();
    expect(gapsIn(history.series(recent.gaps).results)).toBe(0);
  });
});
