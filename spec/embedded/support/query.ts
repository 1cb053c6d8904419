import { Client } from "pg";
import type { QueryResultRow } from "pg";

/** The rows of one statement, on a connection of its own. */
export async function query<R extends QueryResultRow>(url: string, sql: string): Promise<R[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<R>(sql)).rows;
  } finally {
    await client.end();
  }
}
