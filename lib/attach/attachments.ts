import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import type { SqlClient } from "../result-backend";
import { triggerStates, type TriggerState } from "../schema/triggers";
import { functionPrefix, triggerName } from "./copy-functions";

/** A queue whose outcomes are copied. */
export interface AttachedQueue {
  /** The name of the preset, or `table`. */
  readonly queue: string;
  /** Schema and name of the queue's table. */
  readonly schema: string;
  readonly table: string;
  /** Precedes the id of a job in its task id. */
  readonly prefix: string;
  /** Time to live of a copied outcome, in milliseconds; null if it never expires. */
  readonly ttlMs: number | null;
  /** The trigger on the queue's table. */
  readonly state: TriggerState["state"];
  /** The role that owns the queue's table, if it may not write results. Then none are copied that it writes. */
  readonly ownerWithoutRights: string | undefined;
}

/** The settings that the comment on a function keeps. */
export type Settings = Pick<AttachedQueue, "queue" | "prefix" | "ttlMs">;

// $1 text schema of the results, $2 text name of the trigger. Returns the attached tables: schema, name, state of the
// trigger, settings, the owner, and whether the owner may write results. A trigger on a partition has a parent.
const attachedText = `
  select place.nspname::pg_catalog.text, relation.relname::pg_catalog.text, trigger.tgenabled::pg_catalog.text,
    pg_catalog.obj_description(copier.oid, 'pg_proc'), owner.rolname::pg_catalog.text,
    pg_catalog.has_schema_privilege(owner.oid, home.oid, 'usage')
      and pg_catalog.has_any_column_privilege(owner.oid, results.oid, 'insert')
      and pg_catalog.has_any_column_privilege(owner.oid, results.oid, 'update')
      and pg_catalog.has_any_column_privilege(owner.oid, results.oid, 'select')
  from pg_catalog.pg_trigger as trigger
  join pg_catalog.pg_proc as copier on copier.oid operator(pg_catalog.=) trigger.tgfoid
  join pg_catalog.pg_namespace as home on home.oid operator(pg_catalog.=) copier.pronamespace
  join pg_catalog.pg_class as results
    on results.relnamespace operator(pg_catalog.=) home.oid and results.relname operator(pg_catalog.=) 'kojin_results'
  join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) trigger.tgrelid
  join pg_catalog.pg_namespace as place on place.oid operator(pg_catalog.=) relation.relnamespace
  join pg_catalog.pg_roles as owner on owner.oid operator(pg_catalog.=) relation.relowner
  where home.nspname operator(pg_catalog.=) $1::pg_catalog.text
    and trigger.tgname operator(pg_catalog.=) $2::pg_catalog.text
    and trigger.tgparentid operator(pg_catalog.=) 0::pg_catalog.oid
  order by 1, 2`;

type AttachedRow = [
  schema: string,
  table: string,
  enabled: string,
  settings: string | null,
  owner: string,
  mayWrite: boolean,
];

/** Reads which queues are attached to the results of a schema. Every role may. */
export async function readAttached(
  database: Database,
  schema: string,
  timeoutMs: number,
): Promise<readonly AttachedQueue[]> {
  const query = { purpose: "look for attached queues", text: attachedText, values: [schema, triggerName(schema)] };
  const rows = await database.query<AttachedRow>(query, timeoutMs);
  return rows.map(([place, table, enabled, settings, owner, mayWrite]) => ({
    ...decodeSettings(settings),
    schema: place,
    table,
    state: triggerStates[enabled] ?? "missing",
    ownerWithoutRights: mayWrite ? undefined : owner,
  }));
}

/** Any role that owns the function may have changed its comment. */
function decodeSettings(text: string | null): Settings {
  const unknown = { queue: "table", prefix: "", ttlMs: null };
  try {
    return { ...unknown, ...(JSON.parse(text ?? "{}") as Partial<Settings>) };
  } catch {
    return unknown;
  }
}

/** Drops the functions of tables that no longer exist, and those that are shared if no queue is attached any more. */
export async function dropUnused(client: SqlClient, schema: string, shared: readonly string[]): Promise<void> {
  const { rows } = await client.query(
    `select copier.proname::pg_catalog.text as name, trigger.oid is null as is_unused
     from pg_catalog.pg_proc as copier
     join pg_catalog.pg_namespace as home on home.oid operator(pg_catalog.=) copier.pronamespace
     left join pg_catalog.pg_trigger as trigger
       on trigger.tgfoid operator(pg_catalog.=) copier.oid and trigger.tgparentid operator(pg_catalog.=) 0::pg_catalog.oid
     where home.nspname operator(pg_catalog.=) $1::pg_catalog.text
       and pg_catalog.starts_with(copier.proname::pg_catalog.text, $2::pg_catalog.text)`,
    [schema, `${functionPrefix}copy_`],
  );
  const place = escapeIdentifier(schema);
  const copiers = rows as { name: string; is_unused: boolean }[];
  for (const { name, is_unused: isUnused } of copiers)
    if (isUnused) await client.query(`drop function if exists ${place}.${escapeIdentifier(name)}()`, []);
  if (copiers.some(({ is_unused: isUnused }) => !isUnused)) return;
  for (const each of shared) await client.query(`drop function if exists ${place}.${each}`, []);
}
