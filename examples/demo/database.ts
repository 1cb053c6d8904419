import { Client } from "pg";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";

/** Where the results of this run are kept. The other processes get it in their environment: arguments, and a password in them, can be seen by every user. */
export interface DemoDatabase extends AsyncDisposable {
  readonly url: string;
  readonly schema: string;
  /** What to call it on the screen. */
  readonly label: string;
}

/** The server that `DATABASE_URL` names, or else one started for this run. Either way nothing of the run is left after its disposal. */
export async function openDatabase(runId: string): Promise<DemoDatabase> {
  const schema = `kojin_demo_${runId}`;
  const url = process.env["DATABASE_URL"];
  if (url !== undefined && url !== "") {
    const dispose = (): Promise<void> => dropSchema(url, schema);
    return { url, schema, label: "the server of DATABASE_URL", [Symbol.asyncDispose]: dispose };
  }
  // So that the report can ask when each result was committed. The library does not need it.
  const server = await startEmbeddedPostgres({ settings: { track_commit_timestamp: "on" } });
  const dispose = (): Promise<void> => server.stop();
  return { url: server.url, schema, label: "a server started for this demo", [Symbol.asyncDispose]: dispose };
}

/** Reads in a process of the crew what {@link databaseEnvironment} gave it. */
export function databaseOfParent(): { url: string; schema: string } {
  const { DATABASE_URL: url, DEMO_SCHEMA: schema } = process.env;
  if (url === undefined || schema === undefined) throw new Error("Start the demo by its main.ts: npm run demo");
  return { url, schema };
}

/** What a process of the crew needs in order to find the database. */
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
