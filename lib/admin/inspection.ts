import { type Database, notifyQueueUsageText } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";
import { channelOf } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import { latestVersion } from "../schema/migration-files";
import type { SchemaCheck } from "../schema/schema-check";
import { isIdle, onlyAnnounces, readTriggers, type TriggerState } from "../schema/triggers";
import type { Pruner, PruneReport } from "./pruner";

export interface ServerFacts {
  /** For example `18.4`. */
  readonly version: string;
  /** For example 180004. */
  readonly versionNumber: number;
  /** Whether the server is a standby, which accepts no writes and no LISTEN. */
  readonly isStandby: boolean;
  readonly database: string;
}

export interface ServerState {
  readonly server: ServerFacts;
  /** How this session treats triggers: `origin`, `replica` or `local`. */
  readonly replicationRole: string;
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
  /** The rows that `prune()` would delete; undefined if the role may not count them, or the tables are missing. */
  readonly expired: PruneReport | undefined;
  /** Fill level of the cluster's notification queue, 0 to 1. */
  readonly notifyQueueUsage: number;
  /** Processes that listen in this database through this package, in any schema. */
  readonly listeners: number;
}

/** What keeps a role from storing or seeing results although it has the rights. */
export interface AccessProblem {
  readonly finding: string;
  readonly remedy: string;
}

export interface InspectorParts {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly schemaCheck: SchemaCheck;
}

const tableNames = ["kojin_results", "kojin_groups", "kojin_group_state", "kojin_migrations"];
const inspectTimeoutMs = 10_000;

// Returns the version as text and as a number, whether the server is a standby, the database, and how this session
// treats triggers.
const serverText = `
  select pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int,
    pg_catalog.pg_is_in_recovery(), pg_catalog.current_database()::pg_catalog.text,
    pg_catalog.current_setting('session_replication_role')`;

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

// Counts the listening sessions of this package. No view shows which channels a session listens to, so their name
// counts.
const listenersText = `
  select pg_catalog.count(*)::int from pg_catalog.pg_stat_activity
  where datname operator(pg_catalog.=) pg_catalog.current_database()
    and application_name operator(pg_catalog.~~) '% listener'`;

// $1 text schema. Returns whether the server is a standby, whether this session's transactions are read-only, and the
// tables whose row security applies to this role without a policy that shows it all rows.
const accessText = `
  select pg_catalog.pg_is_in_recovery()::pg_catalog.text, pg_catalog.current_setting('transaction_read_only'),
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

/** Reads the state of a database, with the same limit for each query. `health`, `inspect` and `diagnose` share it. */
export class Inspector {
  readonly #parts: InspectorParts;
  readonly #timeoutMs: number;

  constructor(parts: InspectorParts, timeoutMs: number) {
    this.#parts = parts;
    this.#timeoutMs = timeoutMs;
  }

  get schema(): string {
    return this.#parts.options.schema;
  }

  async query<Row extends unknown[]>(text: string, values: unknown[] = []): Promise<Row[]> {
    return this.#parts.database.query<Row>({ purpose: "look at the database", text, values }, this.#timeoutMs);
  }

  async isPooled(): Promise<boolean> {
    return this.#parts.database.isPooled(this.#timeoutMs);
  }

  /** The version of the tables; 0 before the first migration, undefined if the role may not read it. */
  async schemaVersion(): Promise<number | undefined> {
    return unlessMissing(this.#parts.schemaCheck.version(this.#timeoutMs), 0);
  }

  async server(): Promise<ServerState> {
    const [row] = await this.query<[string, number, boolean, string, string]>(serverText);
    const [version, versionNumber, isStandby, database, replicationRole] = row ?? ["", 0, false, "", "origin"];
    // Packagers add their own name: `16.4 (Debian 16.4-1)`.
    const server = { version: version.split(" ")[0] ?? version, versionNumber, isStandby, database };
    return { server, replicationRole };
  }

  async notifyQueueUsage(): Promise<number> {
    const [row] = await this.query<[number]>(notifyQueueUsageText);
    return Number(row?.[0]);
  }

  async listeners(): Promise<number> {
    const [row] = await this.query<[number]>(listenersText);
    return row?.[0] ?? 0;
  }

  async tables(): Promise<TableSize[]> {
    const rows = await this.query<[string, string, string]>(tablesText, [this.schema, tableNames]);
    return rows.map(([name, count, bytes]) => ({ name, rows: Number(count), bytes: Number(bytes) }));
  }

  async triggers(): Promise<readonly TriggerState[]> {
    return readTriggers(this.#parts.database, this.schema, this.#timeoutMs);
  }

  /** The triggers that do not fire in ordinary sessions, except those that only notify, if `needsNotify` is false. */
  async idleTriggers(needsNotify: boolean): Promise<readonly TriggerState[]> {
    const triggers = await this.triggers();
    return triggers.filter((trigger) => isIdle(trigger) && (needsNotify || !onlyAnnounces(trigger.name)));
  }

  async accessProblems(): Promise<readonly AccessProblem[]> {
    const [row] = await this.query<[string, string, string]>(accessText, [this.schema]);
    const [isStandby, isReadOnly, hidden = ""] = row ?? [];
    const problems: AccessProblem[] = [];
    if (isStandby === "true") {
      problems.push({
        finding: "The server is a standby, which accepts no writes and refuses LISTEN.",
        remedy: "Connect to the primary.",
      });
    } else if (isReadOnly === "on") {
      problems.push({
        finding: "Transactions are read-only, so nothing can be stored.",
        remedy: "Reset default_transaction_read_only for the database, the role or the session.",
      });
    }
    if (hidden !== "") {
      problems.push({
        finding: `Row security hides rows of ${hidden} from this role, so waits may never find a result.`,
        remedy: "Add a policy that shows this role all rows, or disable row security on these tables.",
      });
    }
    return problems;
  }
}

/** Reads the state of this package's objects. Changes nothing. */
export async function inspect(parts: InspectorParts & { readonly pruner: Pruner }): Promise<Inspection> {
  const inspector = new Inspector(parts, inspectTimeoutMs);
  const { server } = await inspector.server();
  return {
    server,
    schema: inspector.schema,
    channel: channelOf(inspector.schema),
    schemaVersion: await inspector.schemaVersion(),
    latestVersion: latestVersion(),
    listeners: await inspector.listeners(),
    triggers: await inspector.triggers(),
    tables: await inspector.tables(),
    expired: await unlessDenied(unlessMissing(parts.pruner.countExpired(), undefined)),
    notifyQueueUsage: await inspector.notifyQueueUsage(),
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
