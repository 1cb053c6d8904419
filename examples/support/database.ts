import { randomUUID } from "node:crypto";
import { Client, escapeIdentifier } from "pg";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

/** The database of an example. */
export interface ExampleDatabase {
  readonly url: string;
  /** A schema for this run alone. */
  readonly schema: string;
}

/** Runs an example on the server of DATABASE_URL, or on one that is started for it, and drops its schema. */
export async function withDatabase(example: (database: ExampleDatabase) => Promise<void>): Promise<void> {
  const ownUrl = process.env["DATABASE_URL"];
  const server = ownUrl === undefined ? await startEmbeddedPostgres() : undefined;
  const url = ownUrl ?? server?.url ?? "";
  const schema = `kojin_example_${randomUUID().slice(0, 8)}`;
  try {
    await example({ url, schema });
  } finally {
    await dropSchema(url, schema);
    await server?.stop();
  }
}

async function dropSchema(url: string, schema: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(`drop schema if exists ${escapeIdentifier(schema)} cascade`).finally(async () => client.end());
}
