import { Client } from "pg";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

/**
 * The database of this run. Other processes get it in their environment, since every user can read a command line and a
 * password in it.
 */
export interface DemoDatabase extends AsyncDisposable {
  readonly url: string;
  readonly schema: string;
  /** Name for the screen. */
  readonly label: string;
}

/**
 * Opens the server that `DATABASE_URL` names, or starts one for this run. Disposing it removes everything the run has
 * made.
 */
export async function openDatabase(runId: string): Promise<DemoDatabase> {
  const schema = `kojin_demo_${runId}`;
  const url = process.env["DATABASE_URL"];
  if (url !== undefined && url !== "") {
    const dispose = (): Promise<void> => dropSchema(url, schema);
    return { url, schema, label: "the server of DATABASE_URL", [Symbol.asyncDispose]: dispose };
  }
  // Lets the report ask when each result was committed. The library does not need it.
  const server = await startEmbeddedPostgres({ settings: { track_commit_timestamp: "on" } });
  const dispose = (): Promise<void> => server.stop();
  return { url: server.url, schema, label: "a server started for this demo", [Symbol.asyncDispose]: dispose };
}

/** The environment in which a process of the crew finds the database. child.ts reads it. */
export function databaseEnvironment({ url, schema }: DemoDatabase): NodeJS.ProcessEnv {
  return { ...process.env, DATABASE_URL: url, DEMO_SCHEMA: schema };
}

async function dropSchema(url: string, schema: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`drop schema if exists ${client.escapeIdentifier(schema)} cascade`);
  } finally {
    await client.end();
  }
}
