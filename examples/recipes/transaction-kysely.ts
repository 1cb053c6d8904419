// npx tsx examples/recipes/transaction-kysely.ts
//
// With Kysely: the row of an order and the result of its task are committed together or not at all.

import { Kysely, PostgresDialect } from "kysely";
import { Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { fromKysely } from "kojin-postgres/clients";
import { type ExampleDatabase, withDatabase } from "../support/database";

interface Tables {
  readonly orders: { readonly id: string; readonly amount: number };
}

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  const pool = new Pool({ connectionString: url });
  pool.on("error", (error) => console.error("pool:", error));
  await using backend = new PostgresResultBackend(pool, { schema });
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) }).withSchema(schema);
  try {
    await backend.migrate();
    await pool.query(`create table ${schema}.orders (id text primary key, amount int not null)`);

    await db.transaction().execute(async (trx) => {
      await trx.insertInto("orders").values({ id: "order-1", amount: 20 }).execute();
      await backend.store("order-1", { amount: 20 }, { client: fromKysely(trx) });
      console.log("Stored, not committed: others see", await backend.get("order-1"));
    });
    console.log("Committed: others see", await backend.wait("order-1", 10_000));

    await db
      .transaction()
      .execute(async (trx) => {
        await backend.store("order-2", { amount: 30 }, { client: fromKysely(trx) });
        await trx.insertInto("orders").values({ id: "order-1", amount: 30 }).execute(); // there is an order-1
      })
      .catch(() => undefined);
    const { length } = await db.selectFrom("orders").select("id").execute();
    console.log(`Rolled back: there is ${length} order, and order-2 is`, await backend.get("order-2"));
  } finally {
    await backend.close();
    await pool.end();
  }
}

void withDatabase(main);
