import type { Database } from "../database/database";

type HolderRow = [pid: string, application: string, user: string, state: string, forSeconds: string | null];

const lookTimeoutMs = 5_000;

/** Describes the sessions that hold an advisory lock, whose key is a bigint as text. */
export async function describeAdvisoryHolders(database: Database, key: string): Promise<string> {
  const condition = `exists (
    select from pg_catalog.pg_locks as lock
    where lock.pid operator(pg_catalog.=) holder.pid and lock.granted
      and lock.locktype operator(pg_catalog.=) 'advisory'::pg_catalog.text and lock.objsubid operator(pg_catalog.=) 1
      and lock.database operator(pg_catalog.=) holder.datid
      and ((lock.classid::bigint operator(pg_catalog.<<) 32) operator(pg_catalog.|) lock.objid::bigint)
        operator(pg_catalog.=) $1::bigint
  )`;
  return describeHolders(database, condition, [key]);
}

/** Describes the sessions whose transactions have locked tables of a schema for longest. */
export async function describeTableHolders(database: Database, schema: string): Promise<string> {
  const condition = `exists (
    select from pg_catalog.pg_locks as lock
    join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) lock.relation
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
    where lock.pid operator(pg_catalog.=) holder.pid and lock.granted
      and namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name
      and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
  )`;
  return describeHolders(database, condition, [schema]);
}

/** Describes the sessions with the oldest snapshots: a concurrent index build waits for them, whatever they lock. */
export async function describeSnapshotHolders(database: Database): Promise<string> {
  const condition = `(holder.backend_xmin is not null or holder.backend_xid is not null) and not exists (
    select from pg_catalog.pg_stat_progress_create_index as build where build.pid operator(pg_catalog.=) holder.pid
  )`;
  return describeHolders(database, condition, []);
}

/**
 * Describes the sessions of this database that meet a condition, as in `process 4711 (user "app", idle, for 93 s)`;
 * empty if there is none.
 */
async function describeHolders(database: Database, condition: string, values: unknown[]): Promise<string> {
  const text = `
    select holder.pid::pg_catalog.text, holder.application_name, coalesce(holder.usename::pg_catalog.text, ''),
      coalesce(holder.state, ''), pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()
        operator(pg_catalog.-) coalesce(holder.xact_start, holder.backend_start))::int::pg_catalog.text
    from pg_catalog.pg_stat_activity as holder
    where holder.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid()
      and holder.datname operator(pg_catalog.=) pg_catalog.current_database() and ${condition}
    order by holder.xact_start
    limit 3`;
  const rows = await database.query<HolderRow>({ purpose: "look for lock holders", text, values }, lookTimeoutMs);
  return rows.map(describeHolder).join("; ");
}

/** A role that may not see another's activity reads neither the state nor the time. */
function describeHolder([pid, application, user, state, forSeconds]: HolderRow): string {
  const facts = [`application ${JSON.stringify(application)}`, `user ${JSON.stringify(user)}`];
  if (state !== "") facts.push(state);
  if (forSeconds !== null) facts.push(`for ${forSeconds} s`);
  return `process ${pid} (${facts.join(", ")})`;
}
