import { Client } from "pg";

/**
 * Creates an empty database for a spec file and drops it after the specs. Returns its address.
 *
 * @param encoding - Default: that of the server.
 */
export function ownDatabase(purpose: string, encoding?: string): string {
  const server = process.env["DATABASE_URL"] ?? "";
  const name = `spec_${purpose.toLowerCase()}_${process.pid}`;
  const run = async (text: string): Promise<void> => {
    const client = new Client(server);
    await client.connect();
    await client.query(text).finally(async () => client.end());
  };
  const inEncoding = encoding === undefined ? "" : `encoding '${encoding}' template template0 locale 'C'`;
  beforeAll(() => run(`create database ${name} ${inEncoding}`), 60_000);
  afterAll(() => run(`drop database ${name} with (force)`), 60_000);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}
