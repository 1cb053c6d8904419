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
  const expired =
    "expires_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp() operator(pg_catalog.-) ($1::double precision operator(pg_catalog.*) interval '1 millisecond'))";
  return {
    // Version as text and as a number, whether it is a standby, the database, and how this session treats triggers.
    server: `
      select pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_is_in_recovery(), pg_catalog.current_database()::pg_catalog.text,
        pg_catalog.current_setting('session_replication_role')`,

    // $1 text schema, $2 text[] names. Returns those that are there: name, live rows as the statistics have them, bytes with indexes.
    tables: `
      select relation.relname::pg_catalog.text, pg_catalog.pg_stat_get_live_tuples(relation.oid)::pg_catalog.text, pg_catalog.pg_total_relation_size(relation.oid)::pg_catalog.text
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
      where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text and relation.relname operator(pg_catalog.=) any($2::pg_catalog.text[])
      order by relation.relname`,

    // Sessions of this package that listen: no view tells who listens to what, but they are named so.
    listeners: `
      select pg_catalog.count(*)::int from pg_catalog.pg_stat_activity
      where datname operator(pg_catalog.=) pg_catalog.current_database() and application_name operator(pg_catalog.~~) '% listener'`,

    // $1 float8 ms since they expired. What prune() would delete.
    expiredResults: `select pg_catalog.count(*)::pg_catalog.text from ${name}.kojin_results where ${expired}`,
    expiredGroups: `select pg_catalog.count(*)::pg_catalog.text from ${name}.kojin_group_state where ${expired}`,

    // $1 text schema. Other schemas that were migrated.
    otherSchemas: `
      select namespace.nspname::pg_catalog.text
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
      where relation.relname operator(pg_catalog.=) 'kojin_migrations' and namespace.nspname operator(pg_catalog.<>) $1::pg_catalog.text
      order by namespace.nspname`,

    // $1 text schema. The source of the function that announces results.
    announcingFunction: `
      select procedure.prosrc
      from pg_catalog.pg_proc as procedure
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) procedure.pronamespace
      where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text and procedure.proname operator(pg_catalog.=) 'kojin_results_notify'`,

    // Settings that roles or databases have by default, and by which writes go without their announcement: role and database, null for all of them, and the setting.
    silencingSettings: `
      select role.rolname::pg_catalog.text, database.datname::pg_catalog.text, setting.value
      from pg_catalog.pg_db_role_setting as stored
      cross join lateral pg_catalog.unnest(stored.setconfig) as setting (value)
      left join pg_catalog.pg_roles as role on role.oid operator(pg_catalog.=) stored.setrole
      left join pg_catalog.pg_database as database on database.oid operator(pg_catalog.=) stored.setdatabase
      where setting.value operator(pg_catalog.=) any(array['session_replication_role=replica', 'kojin.notify=off'])
        and (stored.setdatabase operator(pg_catalog.=) 0 or database.datname operator(pg_catalog.=) pg_catalog.current_database())`,

    // $1 text schema. Our tables that logical replication writes.
    subscribedTables: `
      select relation.relname::pg_catalog.text
      from pg_catalog.pg_subscription_rel as subscribed
      join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) subscribed.srrelid
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
      where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')`,

    // Sessions that wait for the lock of notifying commits, and those that hold it: process, name, whether it holds it, seconds since its transaction began.
    lockWaiters: `
      select held.pid, activity.application_name, held.granted,
        coalesce(extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) activity.xact_start), 0)::double precision
      from pg_catalog.pg_locks as held
      left join pg_catalog.pg_stat_activity as activity on activity.pid operator(pg_catalog.=) held.pid
      where held.locktype operator(pg_catalog.=) 'object' and held.classid operator(pg_catalog.=) 'pg_catalog.pg_database'::pg_catalog.regclass and held.objid operator(pg_catalog.=) 0
      order by held.granted desc, held.pid`,

    // Sessions of the cluster in a transaction for more than a minute, which can keep the notification queue from being emptied: process, name, seconds.
    oldTransactions: `
      select pid, application_name, extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) xact_start)::double precision
      from pg_catalog.pg_stat_activity
      where backend_type operator(pg_catalog.=) 'client backend' and xact_start operator(pg_catalog.<) (pg_catalog.clock_timestamp() operator(pg_catalog.-) interval '1 minute')
      order by xact_start
      limit 5`,
  };
}
