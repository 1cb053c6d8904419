import { Client } from "pg";
import { type SpecDatabase, withParameter } from "../../support/spec-database";

/**
 * Login roles of a spec file, dropped at its end. Create it after the file's database, so that the schema is dropped
 * first.
 */
export class Logins {
  readonly #database: SpecDatabase;
  readonly #names = new Set<string>();

  constructor(database: SpecDatabase) {
    this.#database = database;
    afterAll(async () => this.#dropAll());
  }

  /** A name that no other file uses. The role is dropped at the end, whichever way it was created. */
  name(what: string): string {
    const name = `spec_${what}_${process.pid}`;
    this.#names.add(name);
    return name;
  }

  /** Creates a role that has exactly the rights of others. Gives the address to log in with. */
  async create(what: string, memberOf: readonly string[] = []): Promise<string> {
    const name = this.name(what);
    await this.#database.sql(`create role ${name} login password 'x'`);
    for (const role of memberOf) await this.#database.sql(`grant ${role} to ${name}`);
    const url = new URL(this.#database.url);
    [url.username, url.password] = [name, "x"];
    return url.href;
  }

  /** Opens a connection that the caller ends and that does not count as a backend's. */
  async connect(url: string): Promise<Client> {
    const client = new Client(withParameter(url, "application_name", "spec stranger"));
    await client.connect();
    return client;
  }

  /** On a connection of its own, since the file's pool has ended. */
  async #dropAll(): Promise<void> {
    const client = new Client({ connectionString: process.env["DATABASE_URL"], application_name: "spec admin" });
    await client.connect();
    try {
      for (const name of this.#names) {
        const { rowCount } = await client.query("select from pg_roles where rolname = $1", [name]);
        if (rowCount === 0) continue;
        await client.query(`drop owned by ${name} cascade`);
        await client.query(`drop role ${name}`);
      }
    } finally {
      await client.end();
    }
  }
}
