import { Client } from "pg";

/** Runs statements on a connection of their own and returns the rows of the last. */
export async function runSql<Row>(url: string, text: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows as Row[];
  } finally {
    await client.end();
  }
}
