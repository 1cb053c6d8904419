import { escapeIdentifier } from "pg";

/** The SQL that looks at a database from outside, made once for a schema. It only reads, and asks for no more rights than the tables need. */
export interface InspectionStatements {
  readonly server: string;
  readonly tables: string;
  readonly listeners: string;
  readonly expiredResults: string;
  readonly expiredGroups: string;
  readonly otherSchemas: string;
  readonly announcingFunction: string;
  readonly silencingSettings: string;
  readonly subscribedTables: string;
  readonly lockWaiters: string;
  readonly oldTransactions: string;
}

export function inspectionStatements(schema: string): InspectionStatements {
  const name = escapeIdentifier(schema);
  const expired = "expires_at <= statement_timestamp() - $1::float8 * interval '1 millisecond'";
  return {
    // Version as text and as a number, whether it is a standby, the database, and how this session treats triggers.
    server: `
      select current_setting('server_version'), current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(), current_database()::text,
        current_setting('session_replication_role')`,

    // $1 text schema, $2 text[] names. Returns those that are there: name, live rows as the statistics have them, bytes with indexes.
    tables: `
      select relation.relname::text, pg_catalog.pg_stat_get_live_tuples(relation.oid)::text, pg_catalog.pg_total_relation_size(relation.oid)::text
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
      where namespace.nspname = $1::text and relation.relname = any($2::text[])
      order by relation.relname`,

    // Sessions of this package that listen: no view tells who listens to what, but they are named so.
    listeners: `
      select count(*)::int from pg_catalog.pg_stat_activity
      where datname = current_database() and application_name like '% listener'`,

    // $1 float8 ms since they expired. What prune() would delete.
    expiredResults: `select count(*)::text from ${name}.kojin_results where ${expired}`,
    expiredGroups: `select count(*)::text from ${name}.kojin_group_state where ${expired}`,

    // $1 text schema. Other schemas that were migrated.
    otherSchemas: `
      select namespace.nspname::text
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
      where relation.relname = 'kojin_migrations' and namespace.nspname <> $1::text
      order by namespace.nspname`,

    // $1 text schema. The source of the function that announces results.
    announcingFunction: `
      select procedure.prosrc
      from pg_catalog.pg_proc as procedure
      join pg_catalog.pg_namespace as namespace on namespace.oid = procedure.pronamespace
      where namespace.nspname = $1::text and procedure.proname = 'kojin_results_notify'`,

    // Settings that roles or databases have by default, and by which writes go without their announcement: role and database, null for all of them, and the setting.
    silencingSettings: `
      select role.rolname::text, database.datname::text, setting.value
      from pg_catalog.pg_db_role_setting as stored
      cross join lateral unnest(stored.setconfig) as setting (value)
      left join pg_catalog.pg_roles as role on role.oid = stored.setrole
      left join pg_catalog.pg_database as database on database.oid = stored.setdatabase
      where setting.value in ('session_replication_role=replica', 'kojin.notify=off')
        and (stored.setdatabase = 0 or database.datname = current_database())`,

    // $1 text schema. Our tables that logical replication writes.
    subscribedTables: `
      select relation.relname::text
      from pg_catalog.pg_subscription_rel as subscribed
      join pg_catalog.pg_class as relation on relation.oid = subscribed.srrelid
      join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
      where namespace.nspname = $1::text and pg_catalog.starts_with(relation.relname::text, 'kojin_')`,

    // Sessions that wait for the lock of notifying commits, and those that hold it: process, name, whether it holds it, seconds since its transaction began.
    lockWaiters: `
      select held.pid, activity.application_name, held.granted,
        coalesce(extract(epoch from clock_timestamp() - activity.xact_start), 0)::float8
      from pg_catalog.pg_locks as held
      left join pg_catalog.pg_stat_activity as activity on activity.pid = held.pid
      where held.locktype = 'object' and held.classid = 'pg_catalog.pg_database'::regclass and held.objid = 0
      order by held.granted desc, held.pid`,

    // Sessions of the cluster in a transaction for more than a minute, which can keep the notification queue from being emptied: process, name, seconds.
    oldTransactions: `
      select pid, application_name, extract(epoch from clock_timestamp() - xact_start)::float8
      from pg_catalog.pg_stat_activity
      where backend_type = 'client backend' and xact_start < clock_timestamp() - interval '1 minute'
      order by xact_start
      limit 5`,
  };
}
