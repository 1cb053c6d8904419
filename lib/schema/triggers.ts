import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import type { SqlClient } from "../result-backend";
import { migrations, sqlFor } from "./migration-files";

/**
 * A trigger of this package. `enabled`: it fires in ordinary sessions. `always`: it also fires in replica sessions.
 * `replica`: it fires only in replica sessions, and not for ordinary writes.
 */
export interface TriggerState {
  readonly name: string;
  readonly state: "enabled" | "always" | "replica" | "disabled" | "missing";
}

/** A trigger that a schema should have. */
interface Trigger extends TriggerState {
  readonly table: string;
  /** The statement that creates the trigger if it is missing, or else enables it. */
  readonly repairSql: string;
}

/** States by the letter in the catalog (PostgreSQL docs, pg_trigger). */
export const triggerStates: Readonly<Record<string, TriggerState["state"]>> = {
  O: "enabled",
  A: "always",
  R: "replica",
  D: "disabled",
};

/** Reads the states of the triggers that a schema should have, by name. Every role may. */
export async function readTriggers(
  database: Database,
  schema: string,
  timeoutMs: number,
): Promise<readonly TriggerState[]> {
  const triggers = await database.session("look at the triggers", timeoutMs, async (client) =>
    findTriggers(client, schema),
  );
  return triggers.map(({ name, state }) => ({ name, state }));
}

/** Finds the triggers that a schema should have, by name. */
export async function findTriggers(client: SqlClient, schema: string): Promise<readonly Trigger[]> {
  const { rows } = await client.query(
    `select trigger.tgname::pg_catalog.text as name, trigger.tgenabled::pg_catalog.text as enabled
     from pg_catalog.pg_trigger as trigger
     join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) trigger.tgrelid
     join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
     where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name`,
    [schema],
  );
  const found = new Map((rows as { name: string; enabled: string }[]).map(({ name, enabled }) => [name, enabled]));
  return definitions(schema).map(({ name, table, createSql }) => {
    const state = triggerStates[found.get(name) ?? ""] ?? "missing";
    const enableSql = `alter table ${escapeIdentifier(schema)}.${table} enable trigger ${name}`;
    return { name, table, state, repairSql: state === "missing" ? createSql : enableSql };
  });
}

/** Returns the triggers that `sql/` creates. */
function definitions(schema: string): { name: string; table: string; createSql: string }[] {
  const sql = migrations.map((migration) => migration.sql).join("\n");
  const statements = sql.matchAll(/^create or replace trigger (\w+) [^;]*? on @schema@\.(\w+)\n[^;]*;/gm);
  return [...statements]
    .map(([statement, name = "", table = ""]) => ({ name, table, createSql: sqlFor(schema, statement) }))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** Tells whether a trigger only notifies. The others count members or fill columns. */
export function onlyAnnounces(name: string): boolean {
  return name.startsWith("kojin_results_notify");
}

/** Tells whether a trigger does not fire for ordinary writes. */
export function isIdle({ state }: TriggerState): boolean {
  return state !== "enabled" && state !== "always";
}
