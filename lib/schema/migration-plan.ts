import type { Database } from "../database/database";
import { SchemaError } from "../errors";
import { latestVersion, type SchemaState } from "./migration-files";
import { checkTriggersOption, type MigrateOptions, pendingOf } from "./migrations";
import type { SchemaCheck } from "./schema-check";
import { assertNoTriggers } from "./schema-state";
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
  /** Triggers that would be enabled again. */
  readonly disabledTriggers: readonly string[];
}

const planTimeoutMs = 10_000;

/**
 * Looks, and changes nothing.
 *
 * @throws {@link SchemaError} The schema is newer than this package, or has triggers and is to do without.
 */
export async function planMigration(
  database: Database,
  schemaCheck: SchemaCheck,
  schema: string,
  { triggers = true }: MigrateOptions = {},
): Promise<MigrationPlan> {
  checkTriggersOption(triggers);
  const state = await presentState(schemaCheck, triggers);
  const pending = pendingOf(schema, state, triggers);
  if (!triggers && pending.length > 0) await assertNoTriggers(database, schema, planTimeoutMs);
  const present = triggers ? await readTriggers(database, schema, planTimeoutMs) : [];
  return {
    schema,
    version: state.version,
    latestVersion: latestVersion(),
    pending: pending.map(({ version, name }) => ({ version, name })),
    disabledTriggers: present
      .filter(({ state: each }) => each === "disabled" || each === "replica")
      .map(({ name }) => name),
  };
}

async function presentState(schemaCheck: SchemaCheck, triggers: boolean): Promise<SchemaState> {
  try {
    const state = await schemaCheck.state(planTimeoutMs);
    // A role that may not read the version could not migrate either, unless nothing is to be done.
    return state ?? { version: latestVersion(), withoutTriggers: !triggers };
  } catch (error) {
    if (error instanceof SchemaError && error.reason === "missing") return { version: 0, withoutTriggers: false };
    throw error;
  }
}
