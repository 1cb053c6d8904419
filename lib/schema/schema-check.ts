import { notMigratedMessage } from "../database/backend-error";
import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { withTimeLimit } from "../database/race";
import { DatabaseError, SchemaError } from "../errors";
import { versionTable } from "./migration-files";

const purpose = "check the schema";

/** Reads the version of the tables once, and lets work pass only if it is the one this package works with. */
export class SchemaCheck {
  readonly #database: Database;
  readonly #schema: string;
  readonly #expected: number;
  #isGood = false;
  #checking: Promise<void> | undefined;

  /** `expected` is the number of the newest migration that this package has. */
  constructor(database: Database, schema: string, expected: number) {
    this.#database = database;
    this.#schema = schema;
    this.#expected = expected;
  }

  /** Whether it has passed; then there is nothing to wait for. */
  get isGood(): boolean {
    return this.#isGood;
  }

  /** @throws {@link SchemaError} The tables are missing, older, or newer. Asked again, it looks again. */
  async pass(timeoutMs: number): Promise<void> {
    if (this.#isGood) return;
    this.#checking ??= this.#check(timeoutMs).finally(() => (this.#checking = undefined));
    await withTimeLimit(this.#checking, timeoutMs, () => {
      const message = `Could not ${purpose}: no answer within ${Math.round(timeoutMs)} ms.`;
      throw new DatabaseError(message, undefined, true);
    });
  }

  async #check(timeoutMs: number): Promise<void> {
    const state = await this.#state(timeoutMs);
    // A role that may not read the version may still be allowed to do its work; if not, the work itself will say so.
    if (state !== undefined) this.#compare(state.version, state.migrating);
    this.#isGood = true;
  }

  /** The version of the tables; undefined if this role may not know. */
  async version(timeoutMs: number): Promise<number | undefined> {
    return (await this.#state(timeoutMs))?.version;
  }

  async #state(timeoutMs: number): Promise<{ version: number; migrating: string | null } | undefined> {
    const query = { purpose, text: versionTable(this.#schema).read, values: [] };
    try {
      const [row] = await this.#database.query<[string, string | null]>(query, timeoutMs);
      return { version: Number(row?.[0]), migrating: row?.[1] ?? null };
    } catch (error) {
      if (error instanceof DatabaseError && error.sqlState === sqlStates.insufficientPrivilege) return undefined;
      throw error;
    }
  }

  #compare(version: number, migrating: string | null): void {
    if (version < this.#expected && migrating !== null) {
      const message = `Schema "${this.#schema}" is being migrated, or a migration of it was interrupted (last step: ${migrating}). Wait for its end, or call backend.migrate() to go on with it.`;
      throw new SchemaError(this.#schema, "outdated", message);
    }
    if (version < this.#expected) {
      const reason = version === 0 ? "missing" : "outdated";
      throw new SchemaError(this.#schema, reason, notMigratedMessage(this.#schema));
    }
    if (version > this.#expected) throw newerSchemaError(this.#schema, version, this.#expected);
  }
}

export function newerSchemaError(schema: string, version: number, expected: number): SchemaError {
  const message = `Schema "${schema}" has version ${version}, this kojin-postgres knows versions up to ${expected}: upgrade the package here.`;
  return new SchemaError(schema, "newer", message);
}
