// npx tsx examples/nats/main.ts
//
// Notifications over NATS: results are in Postgres, and NATS tells the waiting processes about them. A relay does the
// same for writers that do not use NATS. Needs `nats-server` in the PATH and says so if it is missing.

import { escapeIdentifier, Pool } from "pg";
import { firstValueFrom, filter } from "rxjs";
import { PostgresResultBackend } from "kojin-postgres";
import { nats, startRelay } from "kojin-postgres/nats";
import { startNats } from "../../tools/servers";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { until } from "../support/until";

interface Report {
  readonly pages: number;
}

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using server = await startNats();
  if (server === undefined) {
    console.log("Skipped: there is no nats-server in the PATH (Debian: apt-get install nats-server).");
    return;
  }
  const servers = `nats://127.0.0.1:${server.port}`;
  // Each is usually in a process of its own.
  await using web = await PostgresResultBackend.connect(url, { schema, notifier: nats({ servers }) });
  await using worker = await PostgresResultBackend.connect(url, { schema, notifier: nats({ servers }) });
  await web.migrate();
  const pool = new Pool({ connectionString: url });
  try {
    await overNats(web, worker, pool);
    await byRelay(web, pool, schema, servers);
  } finally {
    await pool.end();
  }
}

async function overNats(web: PostgresResultBackend, worker: PostgresResultBackend, pool: Pool): Promise<void> {
  const report = web.wait<Report>("report 1", 10_000);
  await web.ready();
  await worker.store("report 1", { pages: 12 });
  console.log("Stored by a worker that notifies over NATS:", await report);
  const { channel } = await web.inspect();
  const { rows } = await pool.query<{ query: string }>(
    "select query from pg_stat_activity where datname = current_database()",
  );
  console.log("Connections that listen to Postgres:", rows.filter(({ query }) => query.includes(channel)).length);
}

async function byRelay(web: PostgresResultBackend, pool: Pool, schema: string, servers: string): Promise<void> {
  await using relay = startRelay(pool, { notifier: nats({ servers }), schema });
  // From the command line: npx kojin-postgres relay --nats nats://…
  await firstValueFrom(relay.changes$.pipe(filter(({ role, ok }) => role === "leader" && ok)));
  const report = web.wait<Report>("report 2", 10_000);
  await until(() => web.stats().reads.inFlight === 0);
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  await pool.query(`insert into ${results} (task_id, result) values ('report 2', '{"pages": 3}')`);
  console.log("Inserted by another program, notified by the relay:", await report);
  console.log("Found only by a sweep:", web.stats().wokenBy.sweep);
}

void withDatabase(main);
