import { notMigratedMessage } from "../database/backend-error";
import type { Database } from "../database/database";
import { withTimeLimit } from "../database/race";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";
import { type SchemaState, VersionTable } from "./version-table";

const purpose = "check the schema";

/** Checks once that the tables have the version that this package works with, before anything else is sent. */
export class SchemaCheck {
  readonly #database: Database;
  readonly #schema: string;
  readonly #table: VersionTable;
  readonly #expected: number;
  #isGood = false;
  #checking: Promise<void> | undefined;

  /** @param expected - The number of the newest migration that this package has. */
  constructor(database: Database, schema: string, expected: number) {
    this.#database = database;
    this.#schema = schema;
    this.#table = new VersionTable(schema);
    this.#expected = expected;
  }

  /** The check has passed; there is nothing to wait for. */
  get isGood(): boolean {
    return this.#isGood;
  }

  /** @throws {@link SchemaError} The tables are missing, older, or newer. The next call checks again. */
  async pass(timeoutMs: number): Promise<void> {
    if (this.#isGood) return;
    this.#checking ??= this.#check(timeoutMs).finally(() => (this.#checking = undefined));
    await withTimeLimit(this.#checking, timeoutMs, () => {
      const message = `Could not ${purpose}: no answer within ${Math.round(timeoutMs)} ms.`;
      throw new DatabaseError(message, undefined, true);
    });
  }

  /**
   * Reads the version of the tables; undefined if this role may not know.
   *
   * @throws {@link SchemaError} There is no version table.
   */
  async version(timeoutMs: number): Promise<number | undefined> {
    return (await this.state(timeoutMs))?.version;
  }

  /** Reads the version table, as {@link SchemaCheck.version} does. */
  async state(timeoutMs: number): Promise<SchemaState | undefined> {
    try {
      return await this.#database.session(purpose, timeoutMs, async (client) => this.#table.read(client));
    } catch (error) {
      if (error instanceof DatabaseError && error.sqlState === sqlStates.insufficientPrivilege) return undefined;
      throw error;
    }
  }

  async #check(timeoutMs: number): Promise<void> {
    const state = await this.state(timeoutMs);
    // A role that may not read the version may still be allowed to do its work; if not, the work itself will say so.
    if (state !== undefined) this.#compare(state);
    this.#isGood = true;
  }

  #compare({ version, migrating }: SchemaState): void {
    if (version > this.#expected) throw newerSchemaError(this.#schema, version, this.#expected);
    if (version === this.#expected) return;
    if (migrating === null) {
      const reason = version === 0 ? "missing" : "outdated";
      throw new SchemaError(this.#schema, reason, notMigratedMessage(this.#schema));
    }
    const message = `Schema "${this.#schema}" is being migrated, or a migration of it was interrupted (last step: ${migrating}). Wait for its end, or call backend.migrate() to go on with it.`;
    throw new SchemaError(this.#schema, "outdated", message);
  }
}

export function newerSchemaError(schema: string, version: number, expected: number): SchemaError {
  const message = `Schema "${schema}" has version ${version}, this kojin-postgres knows versions up to ${expected}: upgrade the package here.`;
  return new SchemaError(schema, "newer", message);
}
