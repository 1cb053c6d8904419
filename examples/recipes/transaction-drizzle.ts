// npx tsx examples/recipes/transaction-drizzle.ts
//
// With Drizzle: the row of an order and the result of its task are committed together or not at all.

import { drizzle } from "drizzle-orm/node-postgres";
import { integer, pgSchema, text } from "drizzle-orm/pg-core";
import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { fromDrizzle } from "kojin-postgres/clients";
import { type ExampleDatabase, withDatabase } from "../support/database";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  const pool = new Pool({ connectionString: url });
  pool.on("error", (error) => console.error("pool:", error));
  await using backend = new PostgresResultBackend(pool, { schema });
  try {
    await backend.migrate();
    const db = drizzle({ client: pool });
    const orders = pgSchema(schema).table("orders", { id: text().primaryKey(), amount: integer().notNull() });
    await pool.query(`create table ${schema}.orders (id text primary key, amount int not null)`);

    await db.transaction(async (tx) => {
      await tx.insert(orders).values({ id: "order-1", amount: 20 });
      await backend.store("order-1", { amount: 20 }, { client: fromDrizzle(tx) });
      console.log("Stored, not committed: others see", await backend.get("order-1"));
    });
    console.log("Committed: others see", await backend.wait("order-1", 10_000));

    const failing = db.transaction(async (tx) => {
      await backend.store("order-2", { amount: 30 }, { client: fromDrizzle(tx) });
      await tx.insert(orders).values({ id: "order-1", amount: 30 }); // there is an order-1
    });
    await failing.catch(() => undefined);
    console.log(`Rolled back: there is ${await db.$count(orders)} order, and order-2 is`, await backend.get("order-2"));
  } finally {
    await backend.close();
    await pool.end();
  }
}

void withDatabase(main);
