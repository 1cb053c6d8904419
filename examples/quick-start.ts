// npx tsx examples/quick-start.ts

import { randomUUID } from "node:crypto";
import { PostgresResultBackend } from "kojin-postgres";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

async function main(): Promise<void> {
  // Your server, or one that ends with this process.
  const url = process.env["DATABASE_URL"] ?? (await startEmbeddedPostgres()).url;

  await using backend = await PostgresResultBackend.connect(url);
  await backend.migrate(); // creates the table `kojin_results`; does nothing if it is there

  // Both sides need to know only the id of the task. They may be two processes on two machines.
  const taskId = `invoice:${randomUUID()}`;
  const waiting = backend.wait<{ total: number }>(taskId, 10_000);
  await backend.store(taskId, { total: 42 });

  console.log(`Task ${taskId} has the result`, await waiting);
}

void main();
