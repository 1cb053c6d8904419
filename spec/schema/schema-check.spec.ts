import { escapeIdentifier } from "pg";
import { Database } from "../../lib/database/database";
import { SchemaCheck } from "../../lib/schema/schema-check";
import { specDatabase } from "../support/spec-database";

const database = specDatabase("schema check");

it("keeps the limit of each caller while it is under way for another", async () => {
  const locker = await database.pool.connect();
  try {
    await locker.query("begin");
    await locker.query(`lock table ${escapeIdentifier(database.schema)}.kojin_migrations in access exclusive mode`);
    const check = new SchemaCheck(new Database(database.pool, database.schema), database.schema);
    const patient = check.pass(120_000);
    await expect(check.pass(50)).rejects.toMatchObject({
      name: "DatabaseError",
      transient: true,
      message: "Could not check the schema: no answer within 50 ms.",
    });
    expect(check.isGood).toBe(false);
    await locker.query("rollback");
    await patient;
    expect(check.isGood).toBe(true);
  } finally {
    locker.release(true);
  }
}, 60_000);
