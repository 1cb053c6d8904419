import type { Database } from "../database/database";
import { SchemaError } from "../errors";
import { latestVersion } from "./migration-files";
import { pendingOf } from "./migration-run";
import type { SchemaCheck } from "./schema-check";
import { readTriggers } from "./triggers";

/** What `migrate()` would do. */
export interface MigrationPlan {
  readonly schema: string;
  /** The version of the tables now; 0 where nothing was migrated yet. */
  readonly version: number;
  /** The version that they would have. */
  readonly latestVersion: number;
  /** What would be run, in order. */
  readonly pending: readonly { readonly version: number; readonly name: string }[];
  /** Triggers that would be enabled again, or made again where they were dropped. */
  readonly disabledTriggers: readonly string[];
}

const planTimeoutMs = 10_000;

/**
 * Looks, and changes nothing.
 *
 * @throws {@link SchemaError} The schema is newer than this package.
 */
export async function planMigration(
  database: Database,
  schemaCheck: SchemaCheck,
  schema: string,
): Promise<MigrationPlan> {
  const present = await presentVersion(schemaCheck);
  const pending = pendingOf(schema, present);
  const triggers = await readTriggers(database, schema, planTimeoutMs);
  return {
    schema,
    version: present,
    latestVersion: latestVersion(),
    pending: pending.map(({ version, name }) => ({ version, name })),
    disabledTriggers: triggers
      // Where something is pending, it may be what makes them.
      .filter(
        ({ state }) => state === "disabled" || state === "replica" || (state === "missing" && pending.length === 0),
      )
      .map(({ name }) => name),
  };
}

async function presentVersion(schemaCheck: SchemaCheck): Promise<number> {
  try {
    // A role that may not read the version could not migrate either, unless nothing is to be done.
    return (await schemaCheck.version(planTimeoutMs)) ?? latestVersion();
  } catch (error) {
    if (error instanceof SchemaError && error.reason === "missing") return 0;
    throw error;
  }
}
