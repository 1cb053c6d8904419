import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { PreparedNames } from "../../lib/database/database";
import { specDatabase } from "../support/spec-database";

describe("prepared statements", () => {
  const database = specDatabase("prepared");

  it("have a name made from their text, and one that fits an identifier", () => {
    const names = new PreparedNames(true);
    expect(names.nameOf("select 1")).toMatch(/^kojin_[0-9a-f]{16}$/);
    expect(names.nameOf("select 1")).toBe(new PreparedNames(true).nameOf("select 1"));
    expect(names.nameOf("select 2")).not.toBe(names.nameOf("select 1"));
  });

  it.each(["26000", "42P05", "0A000"])("are given up for good at a %s", (sqlState) => {
    const names = new PreparedNames(true);
    expect(names.isLost("23505")).toBe(false);
    expect(names.nameOf("select 1")).toBeDefined();
    expect(names.isLost(sqlState)).toBe(true);
    expect(names.nameOf("select 1")).toBeUndefined();
  });

  it("are not made where they may not be", () => {
    expect(new PreparedNames(false).nameOf("select 1")).toBeUndefined();
  });

  it("that the server has forgotten fail no store", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1 });
    pool.on("error", () => undefined);
    const backend = new PostgresResultBackend(pool, { schema: database.schema });
    const prepared = async (): Promise<number> =>
      (await pool.query("select from pg_prepared_statements where name like 'kojin\\_%'")).rows.length;
    await backend.store("first", 1);
    expect(await prepared()).toBeGreaterThan(0);
    // As a pooler's reset does, of which the driver knows nothing.
    await pool.query("deallocate all");
    await backend.store("second", 2);
    await backend.store("third", 3);
    expect(await backend.get("third")).toBe(3);
    expect(await prepared()).toBe(0);
    expect(backend.stats().stores).toMatchObject({ rows: 3, retries: 0 });
    await backend.close();
    await pool.end();
  });
});
