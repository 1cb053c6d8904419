import type { Database } from "../database/database";
import { migrations } from "./migration-files";
import { sqlFor } from "./migration-steps";

/** A trigger that `sql/` makes. Without them writes are not announced, or members of groups not counted. */
export interface TriggerDefinition {
  readonly name: string;
  readonly table: string;
  /** The statement that makes it, or replaces it. */
  readonly sql: string;
}

/** The triggers of a schema, by name. */
export function triggerDefinitions(schema: string): readonly TriggerDefinition[] {
  const sql = migrations()
    .map((migration) => migration.sql)
    .join("\n");
  const statements = sql.matchAll(/^create or replace trigger (\w+) [^;]*? on @schema@\.(\w+)\n[^;]*;/gm);
  return [...statements]
    .map(([statement, name = "", table = ""]) => ({ name, table, sql: sqlFor(schema, statement) }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/**
 * A trigger of this package. `enabled`: it fires in ordinary sessions. `always`: in all of them, also where a replica is written. `replica`: only there, so ordinary writes
 * go without it.
 */
export interface TriggerState {
  readonly name: string;
  readonly state: "enabled" | "always" | "replica" | "disabled" | "missing";
}

// PostgreSQL docs, pg_trigger.
const states: Readonly<Record<string, TriggerState["state"]>> = {
  O: "enabled",
  A: "always",
  R: "replica",
  D: "disabled",
};

/** The triggers that a schema should have, and how each of them is. Every role may look. */
export async function readTriggers(
  database: Database,
  schema: string,
  timeoutMs: number,
): Promise<readonly TriggerState[]> {
  const query = {
    purpose: "look at the triggers",
    text: `
      select expected.name, (
        select trigger.tgenabled::pg_catalog.text
        from pg_catalog.pg_trigger as trigger
        join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) trigger.tgrelid
        join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
        where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text and trigger.tgname operator(pg_catalog.=) expected.name
        limit 1
      )
      from pg_catalog.unnest($2::pg_catalog.text[]) as expected (name)
      order by expected.name`,
    values: [schema, triggerDefinitions(schema).map(({ name }) => name)],
  };
  const rows = await database.query<[string, string | null]>(query, timeoutMs);
  return rows.map(([name, enabled]) => ({ name, state: states[enabled ?? ""] ?? "missing" }));
}

/** The triggers of a schema that do not fire in ordinary sessions. */
export async function idleTriggers(database: Database, schema: string, timeoutMs: number): Promise<readonly string[]> {
  const triggers = await readTriggers(database, schema, timeoutMs);
  return triggers.filter(isIdle).map(({ name }) => name);
}

/** Whether it only announces; the others count, and keep rows in order. */
export function onlyAnnounces(name: string): boolean {
  return name.startsWith("kojin_results_notify");
}

/** Whether ordinary writes go without it. */
export function isIdle({ state }: TriggerState): boolean {
  return state !== "enabled" && state !== "always";
}
