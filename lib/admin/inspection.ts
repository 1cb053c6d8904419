import { type AttachedQueue, readAttached } from "../attach/attachments";
import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";
import { channelOf } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import { latestVersion } from "../schema/migration-files";
import type { SchemaCheck } from "../schema/schema-check";
import { readTriggers, type TriggerState } from "../schema/triggers";
import type { Pruner, PruneReport } from "./pruner";

export interface ServerFacts {
  /** For example `18.4`. */
  readonly version: string;
  /** For example 180004. */
  readonly versionNumber: number;
  /** True if the server is a standby, which accepts no writes and no LISTEN. */
  readonly isStandby: boolean;
  readonly database: string;
}

export interface TableSize {
  readonly name: string;
  /** An estimate from the server's statistics, which costs nothing to read. */
  readonly rows: number;
  /** Includes indexes and values that are stored out of line. */
  readonly bytes: number;
}

/** The state of this package's objects in a database. */
export interface Inspection {
  readonly server: ServerFacts;
  readonly schema: string;
  /** The channel for notifications of this schema. */
  readonly channel: string;
  /** The version of the tables; 0 before the first migration, undefined if the role may not read it. */
  readonly schemaVersion: number | undefined;
  /** The version that this package needs. */
  readonly latestVersion: number;
  /** The triggers that the schema should have. */
  readonly triggers: readonly TriggerState[];
  readonly tables: readonly TableSize[];
  /** The queues whose outcomes are copied to the results. */
  readonly attached: readonly AttachedQueue[];
  /** The rows that `prune()` would delete; undefined if the role may not count them, or the tables are missing. */
  readonly expired: PruneReport | undefined;
  /** Fill level of the cluster's notification queue, 0 to 1. */
  readonly notifyQueueUsage: number;
  /** Processes that listen in this database through this package, in any schema. */
  readonly listeners: number;
}

/** Facts that every role may read, from one statement. */
export interface CatalogFacts {
  readonly server: ServerFacts;
  /** Setting `session_replication_role` of this session: `origin`, `replica` or `local`. */
  readonly replicationRole: string;
  readonly isReadOnly: boolean;
  /** Fill level of the cluster's notification queue, 0 to 1. */
  readonly notifyQueueUsage: number;
  readonly listeners: number;
  /** Time of the statement, in milliseconds. */
  readonly tookMs: number;
  /** The tables whose row security hides rows from this role, separated by commas; empty if there are none. */
  readonly hiddenTables: string;
}

export interface CatalogParts {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly schemaCheck: SchemaCheck;
}

const tableNames = [
  "kojin_results",
  "kojin_groups",
  "kojin_group_state",
  "kojin_streams",
  "kojin_chunks",
  "kojin_migrations",
];
const inspectTimeoutMs = 10_000;

// $1 text schema. Returns the version as text and as a number, whether the server is a standby, the database, how this
// session treats triggers, whether its transactions are read-only, the fill level of the notification queue, the number
// of listening sessions of this package (no view shows their channels, so their name counts), and the tables whose row
// security applies to this role without a policy that shows it all rows.
const factsText = `
  select pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int,
    pg_catalog.pg_is_in_recovery(), pg_catalog.current_database()::pg_catalog.text,
    pg_catalog.current_setting('session_replication_role'), pg_catalog.current_setting('transaction_read_only'),
    pg_catalog.pg_notification_queue_usage(),
    (select pg_catalog.count(*)::int from pg_catalog.pg_stat_activity
      where datname operator(pg_catalog.=) pg_catalog.current_database()
        and application_name operator(pg_catalog.~~) '% listener'),
    pg_catalog.array_to_string(array(
      select relation.relname::pg_catalog.text
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
      where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text
        and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
        and relation.relrowsecurity and pg_catalog.row_security_active(relation.oid)
        and not exists (
          select from pg_catalog.pg_policy as policy
          where policy.polrelid operator(pg_catalog.=) relation.oid and policy.polpermissive
            and policy.polcmd operator(pg_catalog.=) any(array['r', '*']::pg_catalog."char"[])
            and pg_catalog.pg_get_expr(policy.polqual, policy.polrelid) operator(pg_catalog.=) 'true'
            and (0::pg_catalog.oid operator(pg_catalog.=) any(policy.polroles)
              or exists (
                select from pg_catalog.unnest(policy.polroles) as member (role_id)
                where pg_catalog.pg_has_role(member.role_id, 'usage')
              ))
        )
      order by relation.relname
    ), ', ')`;

// $1 text schema, $2 text[] names. Returns the tables that exist: name, live rows by the statistics, bytes with
// indexes.
const tablesText = `
  select relation.relname::pg_catalog.text, pg_catalog.pg_stat_get_live_tuples(relation.oid)::pg_catalog.text,
    pg_catalog.pg_total_relation_size(relation.oid)::pg_catalog.text
  from pg_catalog.pg_class as relation
  join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
  where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.text
    and relation.relname operator(pg_catalog.=) any($2::pg_catalog.text[])
  order by relation.relname`;

/** Reads the catalog of a database, with the same limit for each query. */
export class Catalog {
  readonly #parts: CatalogParts;
  readonly #timeoutMs: number;

  constructor(parts: CatalogParts, timeoutMs: number) {
    this.#parts = parts;
    this.#timeoutMs = timeoutMs;
  }

  get schema(): string {
    return this.#parts.options.schema;
  }

  async query<Row extends unknown[]>(text: string, values: unknown[] = []): Promise<Row[]> {
    return this.#parts.database.query<Row>({ purpose: "look at the database", text, values }, this.#timeoutMs);
  }

  async facts(): Promise<CatalogFacts> {
    type Row = [string, number, boolean, string, string, string, number, number, string];
    const startedAt = performance.now();
    const [row] = (await this.query<Row>(factsText, [this.schema])) as [Row];
    const [version, versionNumber, isStandby, database, replicationRole, readOnly, usage, listeners, hiddenTables] =
      row;
    return {
      // Packagers add their own name: `16.4 (Debian 16.4-1)`.
      server: { version: version.replace(/ .*/, ""), versionNumber, isStandby, database },
      replicationRole,
      isReadOnly: readOnly === "on",
      notifyQueueUsage: usage,
      listeners,
      tookMs: performance.now() - startedAt,
      hiddenTables,
    };
  }

  /** The version of the tables; 0 before the first migration, undefined if the role may not read it. */
  async schemaVersion(): Promise<number | undefined> {
    return unlessMissing(this.#parts.schemaCheck.version(this.#timeoutMs), 0);
  }

  async tables(): Promise<TableSize[]> {
    const rows = await this.query<[string, string, string]>(tablesText, [this.schema, tableNames]);
    return rows.map(([name, count, bytes]) => ({ name, rows: Number(count), bytes: Number(bytes) }));
  }

  async attached(): Promise<readonly AttachedQueue[]> {
    return readAttached(this.#parts.database, this.schema, this.#timeoutMs);
  }

  async triggers(): Promise<readonly TriggerState[]> {
    return readTriggers(this.#parts.database, this.schema, this.#timeoutMs);
  }
}

/** Reads the state of this package's objects. Changes nothing. */
export async function inspect(parts: CatalogParts & { readonly pruner: Pruner }): Promise<Inspection> {
  const catalog = new Catalog(parts, inspectTimeoutMs);
  const { server, listeners, notifyQueueUsage } = await catalog.facts();
  return {
    server,
    schema: catalog.schema,
    channel: channelOf(catalog.schema),
    schemaVersion: await catalog.schemaVersion(),
    latestVersion,
    listeners,
    triggers: await catalog.triggers(),
    tables: await catalog.tables(),
    attached: await catalog.attached(),
    expired: await unlessDenied(unlessMissing(parts.pruner.countExpired(), undefined)),
    notifyQueueUsage,
  };
}

async function unlessMissing<T>(reading: Promise<T>, otherwise: T): Promise<T> {
  return reading.catch((error: unknown) => {
    if (error instanceof SchemaError && error.reason === "missing") return otherwise;
    throw error;
  });
}

async function unlessDenied<T>(reading: Promise<T>): Promise<T | undefined> {
  return reading.catch((error: unknown) => {
    if (error instanceof DatabaseError && error.sqlState === sqlStates.insufficientPrivilege) return undefined;
    throw error;
  });
}
