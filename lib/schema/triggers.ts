import type { Database } from "../database/database";

/** The triggers that `sql/` makes. Without them writes are not announced, or members of groups not counted. */
const expectedTriggers = [
  "kojin_group_state_copied",
  "kojin_group_state_delete",
  "kojin_group_state_truncate",
  "kojin_groups_count_delete",
  "kojin_groups_count_insert",
  "kojin_groups_count_truncate",
  "kojin_groups_count_update",
  "kojin_groups_foreign_insert",
  "kojin_groups_foreign_update",
  "kojin_results_foreign_update",
  "kojin_results_notify_insert",
  "kojin_results_notify_update",
] as const;

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
    values: [schema, [...expectedTriggers]],
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
