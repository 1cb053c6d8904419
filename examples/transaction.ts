// npx tsx examples/transaction.ts
//
// A result stored in your own transaction exists if, and only if, your rows do: no waiter sees an order that was rolled
// back.

import { randomUUID } from "node:crypto";
import { Client } from "pg";
import { PostgresResultBackend, WaitTimeoutError } from "kojin-postgres";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

const taskId = `order:${randomUUID()}`;

async function main(): Promise<void> {
  const url = process.env["DATABASE_URL"] ?? (await startEmbeddedPostgres()).url;
  await using backend = await PostgresResultBackend.connect(url);
  await backend.migrate();
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("create temporary table orders (id text primary key, amount int not null)");
    await rollBack(backend, client);
    await commit(backend, client);
  } finally {
    await client.end();
  }
}

async function rollBack(backend: PostgresResultBackend, client: Client): Promise<void> {
  const waiting = backend.waitSettled(taskId, 500).catch((error: unknown) => error);
  await client.query("begin");
  await client.query("insert into orders values ($1, 10)", [taskId]);
  await backend.store(taskId, { amount: 10 }, { client });
  await client.query("rollback");
  const error = await waiting;
  if (!(error instanceof WaitTimeoutError)) throw new Error("A rollback has woken a waiter.", { cause: error });
  console.log(`Rolled back, and no waiter was woken: ${error.message}`);
}

async function commit(backend: PostgresResultBackend, client: Client): Promise<void> {
  const waiting = backend.wait<{ amount: number }>(taskId, 10_000);
  await client.query("begin");
  await client.query("insert into orders values ($1, 20)", [taskId]);
  await backend.store(taskId, { amount: 20 }, { client });
  console.log("Stored, not committed: another connection sees", await backend.get(taskId));
  await client.query("commit");
  console.log("Committed, and the wait has ended with", await waiting);
}

void main();
