import { Client } from "pg";
import { type SpecDatabase, withParameter } from "../../support/spec-database";

/** Roles of a spec file that can log in, dropped at its end. To be made after the file's database, so that the schema is gone by then. */
export class Logins {
  readonly #database: SpecDatabase;
  readonly #names = new Set<string>();

  constructor(database: SpecDatabase) {
    this.#database = database;
    afterAll(async () => this.#dropAll());
  }

  /** A name that no other file uses. It is dropped at the end, too, whoever creates the role. */
  name(what: string): string {
    const name = `spec_${what}_${process.pid}`;
    this.#names.add(name);
    return name;
  }

  /** Creates a role that has the rights of others, and none besides; gives the address to log in with. */
  async create(what: string, memberOf: readonly string[] = []): Promise<string> {
    const name = this.name(what);
    await this.#database.sql(`create role ${name} login password 'x'`);
    for (const role of memberOf) await this.#database.sql(`grant ${role} to ${name}`);
    const url = new URL(this.#database.url);
    [url.username, url.password] = [name, "x"];
    return url.href;
  }

  /** A bare connection, not one of those that a backend must not leave behind; for the caller to end. */
  async connect(url: string): Promise<Client> {
    const client = new Client(withParameter(url, "application_name", "spec stranger"));
    await client.connect();
    return client;
  }

  /** By a connection of its own, as the file's pool has ended. */
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
