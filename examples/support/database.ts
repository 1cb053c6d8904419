import { randomUUID } from "node:crypto";
import { Client, escapeIdentifier } from "pg";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

/** The database of a recipe. */
export interface RecipeDatabase {
  readonly url: string;
  /** A schema for this run alone. */
  readonly schema: string;
}

/** Runs a recipe on the server of DATABASE_URL, or on one that is started for it, and removes what it made. */
export async function withDatabase(recipe: (database: RecipeDatabase) => Promise<void>): Promise<void> {
  const ownUrl = process.env["DATABASE_URL"];
  const server = ownUrl === undefined ? await startEmbeddedPostgres() : undefined;
  const url = ownUrl ?? server?.url ?? "";
  const schema = `kojin_recipe_${randomUUID().slice(0, 8)}`;
  try {
    await recipe({ url, schema });
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
