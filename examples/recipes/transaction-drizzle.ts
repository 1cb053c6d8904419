// npx tsx examples/recipes/transaction-drizzle.ts
//
// With Drizzle: the row of an order and the result of its task are committed together or not at all. Drizzle does not
// give access to a transaction's client, so the recipe takes a client from the pool and lets Drizzle work on it.

import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import { integer, pgSchema, text } from "drizzle-orm/pg-core";
import { Pool, type PoolClient } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../support/database";

type Database = NodePgDatabase & { $client: Pool };
type Transaction = Parameters<Parameters<Database["transaction"]>[0]>[0];

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  const pool = new Pool({ connectionString: url });
  pool.on("error", (error) => console.error("pool:", error));
  await using backend = new PostgresResultBackend(pool, { schema });
  try {
    await backend.migrate();
    const db = drizzle({ client: pool });
    const orders = pgSchema(schema).table("orders", { id: text().primaryKey(), amount: integer().notNull() });
    await pool.query(`create table ${schema}.orders (id text primary key, amount int not null)`);

    await inTransaction(db, async (tx, client) => {
      await tx.insert(orders).values({ id: "order-1", amount: 20 });
      await backend.store("order-1", { amount: 20 }, { client });
      console.log("Stored, not committed: others see", await backend.get("order-1"));
    });
    console.log("Committed: others see", await backend.wait("order-1", 10_000));

    await inTransaction(db, async (tx, client) => {
      await backend.store("order-2", { amount: 30 }, { client });
      await tx.insert(orders).values({ id: "order-1", amount: 30 }); // there is an order-1
    }).catch(() => undefined);
    console.log(`Rolled back: there is ${await db.$count(orders)} order, and order-2 is`, await backend.get("order-2"));
  } finally {
    await backend.close();
    await pool.end();
  }
}

/** Runs a Drizzle transaction on a client that is known. */
async function inTransaction<T>(db: Database, work: (tx: Transaction, client: PoolClient) => Promise<T>): Promise<T> {
  const client = await db.$client.connect();
  let isOver = false;
  try {
    const result = await drizzle({ client }).transaction(async (tx) => work(tx, client));
    isOver = true;
    return result;
  } finally {
    // After an error the client may still be in a transaction, so the pool replaces it.
    client.release(!isOver);
  }
}

void withDatabase(main);
