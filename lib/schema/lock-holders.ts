import type { Database } from "../database/database";

/** A session that holds a lock which a migration waits for. */
export interface LockHolder {
  readonly pid: number;
  readonly applicationName: string;
  readonly user: string;
  /** As in `pg_stat_activity`: `active`, `idle in transaction` …; empty where this role may not see it. */
  readonly state: string;
  /** Seconds since its transaction, or else its session, began; null where this role may not see it. */
  readonly forSeconds: number | null;
}

const describedHolder = `holder.pid::pg_catalog.text, holder.application_name, coalesce(holder.usename::pg_catalog.text, ''), coalesce(holder.state, ''),
  pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() operator(pg_catalog.-) coalesce(holder.xact_start, holder.backend_start))::int::pg_catalog.text`;

type HolderRow = [string, string, string, string, string | null];

const lookTimeoutMs = 5_000;

/** Reads the sessions that hold an advisory lock. The key is a bigint as text. */
export async function readAdvisoryHolders(database: Database, key: string): Promise<readonly LockHolder[]> {
  const text = `
    select ${describedHolder}
    from pg_catalog.pg_locks as lock
    join pg_catalog.pg_stat_activity as holder on holder.pid operator(pg_catalog.=) lock.pid
    where lock.locktype operator(pg_catalog.=) 'advisory'::pg_catalog.text and lock.granted and lock.objsubid operator(pg_catalog.=) 1
      and lock.database operator(pg_catalog.=) (
        select oid from pg_catalog.pg_database where datname operator(pg_catalog.=) pg_catalog.current_database()
      )
      and ((lock.classid::bigint operator(pg_catalog.<<) 32) operator(pg_catalog.|) lock.objid::bigint) operator(pg_catalog.=) $1::bigint`;
  return readHolders(database, text, [key]);
}

/** Reads the sessions whose transactions have locked tables of this schema for longest. */
export async function readTableHolders(database: Database, schema: string): Promise<readonly LockHolder[]> {
  const text = `
    select ${describedHolder}
    from pg_catalog.pg_stat_activity as holder
    where holder.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid() and exists (
      select from pg_catalog.pg_locks as lock
      join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) lock.relation
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
      where lock.pid operator(pg_catalog.=) holder.pid and lock.granted
        and namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name
        and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
    )
    order by holder.xact_start
    limit 3`;
  return readHolders(database, text, [schema]);
}

/** Reads the sessions with the oldest snapshots of this database: a concurrent index build waits for them, whatever they have locked. */
export async function readSnapshotHolders(database: Database): Promise<readonly LockHolder[]> {
  const text = `
    select ${describedHolder}
    from pg_catalog.pg_stat_activity as holder
    where holder.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid() and holder.datname operator(pg_catalog.=) pg_catalog.current_database()
      and (holder.backend_xmin is not null or holder.backend_xid is not null)
      and not exists (select from pg_catalog.pg_stat_progress_create_index as build where build.pid operator(pg_catalog.=) holder.pid)
    order by holder.xact_start
    limit 3`;
  return readHolders(database, text, []);
}

async function readHolders(database: Database, text: string, values: unknown[]): Promise<readonly LockHolder[]> {
  const rows = await database.query<HolderRow>({ purpose: "look for lock holders", text, values }, lookTimeoutMs);
  return rows.map(([pid, applicationName, user, state, forSeconds]) => ({
    pid: Number(pid),
    applicationName,
    user,
    state,
    forSeconds: forSeconds === null ? null : Number(forSeconds),
  }));
}

/** Describes holders for a message: `process 4711 (application "report", user "app", idle in transaction, for 93 s)`. */
export function describeHolders(holders: readonly LockHolder[]): string {
  if (holders.length === 0) return "a session that has ended since";
  return holders
    .map(({ pid, applicationName, user, state, forSeconds }) => {
      const facts = [`application ${JSON.stringify(applicationName)}`, `user ${JSON.stringify(user)}`];
      if (state !== "") facts.push(state);
      if (forSeconds !== null) facts.push(`for ${forSeconds} s`);
      return `process ${pid} (${facts.join(", ")})`;
    })
    .join("; ");
}
