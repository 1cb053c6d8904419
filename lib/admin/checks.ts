import { escapeIdentifier } from "pg";
import { channelOf } from "../notifications/payload";
import { latestVersion } from "../schema/migration-files";
import { isIdle, onlyAnnounces } from "../schema/triggers";
import { Catalog, type CatalogFacts, type CatalogParts } from "./inspection";

/** The outcome of one check. */
export interface Finding {
  /**
   * `problem`: waits are slow, miss notifications, or fail. `warning`: this may happen later. `unknown`: the check
   * could not run.
   */
  readonly verdict: "ok" | "warning" | "problem" | "unknown";
  readonly finding: string;
  /** Remedy; undefined if there is nothing to fix. */
  readonly remedy: string | undefined;
}

/** Data that the checks examine. */
export interface CheckContext {
  readonly catalog: Catalog;
  readonly facts: CatalogFacts;
  /** Version of the tables; 0 before the first migration, undefined if the role may not read it. */
  readonly schemaVersion: number | undefined;
  /** True if the tables exist in the version of this package. Other tables are not checked. */
  readonly hasTables: boolean;
  /** True if this process relies on Postgres notifications. */
  readonly needsNotify: boolean;
}

export type Check<Context = CheckContext> = (context: Context) => Finding | Promise<Finding>;

export const ok = (finding: string): Finding => ({ verdict: "ok", finding, remedy: undefined });
export const warning = (finding: string, remedy: string): Finding => ({ verdict: "warning", finding, remedy });
export const problem = (finding: string, remedy: string): Finding => ({ verdict: "problem", finding, remedy });
export const unknown = (finding: string, remedy?: string): Finding => ({ verdict: "unknown", finding, remedy });

/** Fill level from which the notification queue is reported. The server itself warns at 0.5. */
const maxQueueUsage = 0.25;
const oldestServer = 140_000;
/** The newest version that the specs run on is 18. */
const firstUntestedServer = 190_000;

// Returns the settings of roles and databases that keep writes from notifying: role and database, null for all of them,
// and the setting.
const settingsText = `
  select role.rolname::pg_catalog.text, database.datname::pg_catalog.text, setting.value
  from pg_catalog.pg_db_role_setting as stored
  cross join lateral pg_catalog.unnest(stored.setconfig) as setting (value)
  left join pg_catalog.pg_roles as role on role.oid operator(pg_catalog.=) stored.setrole
  left join pg_catalog.pg_database as database on database.oid operator(pg_catalog.=) stored.setdatabase
  where setting.value operator(pg_catalog.=) any(array['session_replication_role=replica', 'kojin.notify=off'])
    and (stored.setdatabase operator(pg_catalog.=) 0
      or database.datname operator(pg_catalog.=) pg_catalog.current_database())`;

// Returns the sessions in a transaction for over a minute, which can keep the notification queue from being emptied:
// process, name, seconds.
const oldTransactionsText = `
  select pid, application_name,
    extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) xact_start)::double precision
  from pg_catalog.pg_stat_activity
  where backend_type operator(pg_catalog.=) 'client backend'
    and xact_start operator(pg_catalog.<) (pg_catalog.clock_timestamp() operator(pg_catalog.-) interval '1 minute')
  order by xact_start
  limit 5`;

// $1 text schema. Returns the other schemas that were migrated.
const otherSchemasText = `
  select namespace.nspname::pg_catalog.text
  from pg_catalog.pg_class as relation
  join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
  where relation.relname operator(pg_catalog.=) 'kojin_migrations'
    and namespace.nspname operator(pg_catalog.<>) $1::pg_catalog.text
  order by namespace.nspname`;

// $1 text schema. Returns the source of the function that sends notifications.
const notifyFunctionText = `
  select procedure.prosrc
  from pg_catalog.pg_proc as procedure
  join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) procedure.pronamespace
  where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text
    and procedure.proname operator(pg_catalog.=) 'kojin_results_notify'`;

// $1 text schema. Returns the tables that logical replication writes.
const subscribedTablesText = `
  select relation.relname::pg_catalog.text
  from pg_catalog.pg_subscription_rel as subscribed
  join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) subscribed.srrelid
  join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
  where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text
    and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')`;

// $1 text schema. Returns what roles can do, except the owner of the tables and superusers. `trigger` and `create`: a
// role with that right, and the tables or the schema. `runs`: the owner of a function that triggers on the tables call,
// and these triggers. `table`: a role with any other right, and the tables.
const rightsText = `
  with owned as (
    select relation.oid, relation.relname::pg_catalog.text as name, relation.relowner as owner,
      relation.relacl as rights, relation.relnamespace as schema_id
    from pg_catalog.pg_class as relation
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
    where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text
      and relation.relkind operator(pg_catalog.=) 'r'
      and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
  ),
  found as (
    select case when granted.privilege_type operator(pg_catalog.=) 'TRIGGER' then 'trigger' else 'table' end as kind,
      owned.owner, granted.grantee, owned.name as object
    from owned
    cross join lateral pg_catalog.aclexplode(owned.rights) as granted
    union
    select 'create', owned.owner, granted.grantee, namespace.nspname::pg_catalog.text
    from owned
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) owned.schema_id
    cross join lateral pg_catalog.aclexplode(namespace.nspacl) as granted
    where granted.privilege_type operator(pg_catalog.=) 'CREATE'
      and granted.grantee operator(pg_catalog.<>) namespace.nspowner
    union
    select 'runs', owned.owner, procedure.proowner, trigger.tgname::pg_catalog.text
    from owned
    join pg_catalog.pg_trigger as trigger on trigger.tgrelid operator(pg_catalog.=) owned.oid
    join pg_catalog.pg_proc as procedure on procedure.oid operator(pg_catalog.=) trigger.tgfoid
    where not trigger.tgisinternal
  )
  select found.kind, coalesce(role.rolname::pg_catalog.text, 'PUBLIC'),
    pg_catalog.string_agg(distinct found.object, ', ' order by found.object)
  from found
  left join pg_catalog.pg_roles as role on role.oid operator(pg_catalog.=) found.grantee
  where found.grantee operator(pg_catalog.<>) found.owner and not coalesce(role.rolsuper, false)
  group by found.kind, role.rolname
  order by found.kind, role.rolname`;

/** Reads the data that the checks examine. */
export async function readContext(parts: CatalogParts, timeoutMs: number): Promise<CheckContext> {
  const catalog = new Catalog(parts, timeoutMs);
  const facts = await catalog.facts();
  const schemaVersion = await catalog.schemaVersion();
  return {
    catalog,
    facts,
    schemaVersion,
    hasTables: schemaVersion === undefined || schemaVersion === latestVersion,
    needsNotify: parts.options.notify !== "off",
  };
}

/** Checks whether the server is supported, and whether writes of this session fire triggers. */
export const checkServer: Check<{ facts: Pick<CatalogFacts, "server" | "replicationRole"> }> = ({ facts }) => {
  const { server, replicationRole } = facts;
  const name = `PostgreSQL ${server.version}`;
  if (server.versionNumber < oldestServer)
    return problem(`${name} is older than 14.`, "Upgrade the server to PostgreSQL 14 to 18.");
  if (server.isStandby)
    return problem(
      `${name} is a standby, which accepts no writes and refuses LISTEN.`,
      "Use the address of the primary, for the pool and for LISTEN.",
    );
  if (replicationRole === "replica")
    return problem(
      "This session has session_replication_role = replica, so its writes fire no triggers. Plain SQL neither notifies nor counts.",
      "Remove the setting: alter role … reset session_replication_role, or remove it from the address.",
    );
  if (server.versionNumber >= firstUntestedServer)
    return warning(`${name} is newer than the tested versions.`, "Check for a newer kojin-postgres.");
  return ok(`${name}, a primary.`);
};

/** Checks whether the cluster's notification queue fills up. */
export const checkQueue: Check = async ({ catalog, facts: { notifyQueueUsage } }) => {
  const fill = `The cluster's notification queue is ${Math.round(notifyQueueUsage * 100)} % full`;
  if (notifyQueueUsage <= maxQueueUsage) return ok(`${fill}.`);
  const sessions = (await catalog.query<[number, string, number]>(oldTransactionsText)).map(
    ([processId, name, seconds]) => `${processId} (${name || "unnamed"}, ${Math.round(seconds)} s)`,
  );
  const found = sessions.length === 0 ? "" : ` Longest transactions: ${sessions.join(", ")}.`;
  return problem(
    `${fill}. When it is full, every NOTIFY fails.${found}`,
    "A session listens but does not read, because it is in a transaction or its client hangs. End it: select pg_terminate_backend(pid). See “The notification queue fills” in docs/operations.md.",
  );
};

/** Checks whether roles or databases have settings that keep writes from notifying. */
export const checkSettings: Check = async ({ catalog }) => {
  const rows = await catalog.query<[string | null, string | null, string]>(settingsText);
  if (rows.length === 0) return ok("No role or database has a setting that turns off notifications.");
  const settings = rows.map(
    ([role, database, setting]) => `${setting} (${role ?? "every role"} in ${database ?? "every database"})`,
  );
  return problem(
    `Some writes send no notifications: ${settings.join(", ")}.`,
    "Run alter role … reset … or alter database … reset …; then open new sessions.",
  );
};

/** Checks whether the tables exist, in the version of this package. */
export const checkSchema: Check = async ({ schemaVersion, catalog }) => {
  const { schema } = catalog;
  const latest = latestVersion;
  if (schemaVersion === undefined)
    return unknown(`This role may not read the version of schema "${schema}".`, "See sql/roles.sql.");
  if (schemaVersion === latest) return ok(`Schema "${schema}" has version ${latest}.`);
  if (schemaVersion > latest)
    return problem(
      `Schema "${schema}" has version ${schemaVersion}, but this kojin-postgres supports only versions up to ${latest}.`,
      "Upgrade kojin-postgres here.",
    );
  if (schemaVersion > 0)
    return problem(`Schema "${schema}" has version ${schemaVersion} of ${latest}.`, migrateRemedy(schema));
  const others = (await catalog.query<[string]>(otherSchemasText, [schema])).map(([name]) => JSON.stringify(name));
  if (others.length === 0) return problem(`Schema "${schema}" has not been migrated.`, migrateRemedy(schema));
  return problem(
    `Schema "${schema}" has not been migrated, but there are tables in ${others.join(", ")}.`,
    `Use the schema that the other processes use (option schema, or --schema). Notifications do not cross schemas. If this schema is right: ${migrateRemedy(schema)}`,
  );
};

const migrateRemedy = (schema: string): string =>
  `Call migrate(), or run: kojin-postgres migrate${schema === "public" ? "" : ` --schema ${JSON.stringify(schema)}`}`;

/** Checks whether the triggers fire. */
export const checkTriggers: Check = async ({ catalog, needsNotify }) => {
  const triggers = await catalog.triggers();
  const idle = triggers.filter((trigger) => isIdle(trigger) && (needsNotify || !onlyAnnounces(trigger.name)));
  if (idle.length === 0) return ok("All triggers are enabled.");
  const names = idle.map(({ name, state }) => `${name} (${state})`).join(", ");
  return problem(
    `Triggers do not fire, so writes send no notifications or are not counted: ${names}.`,
    `${migrateRemedy(catalog.schema)}. It creates or enables them, and counts groups again.`,
  );
};

/** Checks whether other roles could have their code run by writes to the tables. */
export const checkRights: Check = async ({ catalog }) => {
  const rows = await catalog.query<[kind: string, role: string, objects: string]>(rightsText, [catalog.schema]);
  const sentence = (kind: string, beginning: string): string[] => {
    const roles = rows.filter(([each]) => each === kind).map(([, role, objects]) => `${role} (${objects})`);
    return roles.length === 0 ? [] : [`${beginning}: ${roles.join(", ")}.`];
  };
  const findings = [
    ...sentence("trigger", "Roles with TRIGGER on the tables"),
    ...sentence("create", "Roles with CREATE on the schema"),
    ...sentence("runs", "Triggers with functions of other roles"),
  ];
  if (findings.length === 0) {
    const others = sentence("table", "Other roles with rights on them");
    return ok(["No other role can have its code run by writes to the tables.", ...others].join(" "));
  }
  return warning(
    `${findings.join(" ")} Such a trigger runs with the rights of each writer.`,
    "Revoke TRIGGER and CREATE from every role but the owner, and drop unknown triggers; see docs/security.md.",
  );
};

/** Checks whether this role can use the rights it has. */
export const checkAccess: Check = ({ facts: { server, isReadOnly, hiddenTables } }) => {
  // A standby is also read-only, but the check of the server reports that.
  if (isReadOnly && !server.isStandby)
    return problem(
      "Transactions are read-only, so nothing can be stored.",
      "Reset default_transaction_read_only for the database, the role or the session.",
    );
  if (hiddenTables !== "")
    return problem(
      `Row security hides rows of ${hiddenTables} from this role, so waits may never find a result.`,
      "Add a policy that shows this role all rows, or disable row security on these tables.",
    );
  return ok("This session can write, and row security hides nothing from this role.");
};

/** Checks whether the triggers notify the channel of this schema. */
export const checkChannel: Check = async ({ catalog }) => {
  const { schema } = catalog;
  const [row] = await catalog.query<[string]>(notifyFunctionText, [schema]);
  if (row?.[0].includes(`${escapeIdentifier(schema)}.kojin_announce(`) === true)
    return ok(`Notifications of schema "${schema}" use the channel ${channelOf(schema)}.`);
  return problem(
    `The functions of schema "${schema}" belong to another schema or were changed. The schema was renamed or copied.`,
    "Functions name their schema, so it cannot be renamed. Migrate a new schema, and copy the rows of the tables.",
  );
};

/** Checks whether rows arrive by logical replication, which fires no triggers. */
export const checkSubscriptions: Check = async ({ catalog }) => {
  const tables = (await catalog.query<[string]>(subscribedTablesText, [catalog.schema])).map(([name]) => name);
  if (tables.length === 0) return ok("No table is written by logical replication.");
  return warning(
    `Logical replication writes ${tables.join(", ")} and fires no triggers. Such results are found by reads, every sweepIntervalMs.`,
    "Wait on the server where results are stored, or use a short sweepIntervalMs.",
  );
};
