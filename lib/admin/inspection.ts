import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError, SchemaError } from "../errors";
import { channelOf } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import type { PruneReport } from "./pruner";
import { latestVersion } from "../schema/migration-files";
import type { SchemaCheck } from "../schema/schema-check";
import { readTriggers, type TriggerState } from "../schema/triggers";
import { checkDurationMs } from "../value/arguments";
import { type InspectionStatements, inspectionStatements } from "./statements";

export interface ServerFacts {
  /** Such as `18.4`. */
  readonly version: string;
  /** Such as 180004. */
  readonly versionNumber: number;
  /** Whether it follows another server: it takes no writes then, and refuses LISTEN. */
  readonly isStandby: boolean;
  readonly database: string;
}

export interface ServerAnswer {
  readonly server: ServerFacts;
  /** How this session treats triggers: `origin`, `replica` or `local`. */
  readonly replicationRole: string;
}

export interface TableSize {
  readonly name: string;
  /** As the server's statistics have it: about right, and free to ask. */
  readonly rows: number;
  /** With indexes and what is stored out of line. */
  readonly bytes: number;
}

/** What there is of this package in a database. */
export interface Inspection {
  readonly server: ServerFacts;
  readonly schema: string;
  /** The channel on which results of this schema are announced. */
  readonly channel: string;
  /** The version of the tables; 0 where nothing was migrated, undefined if this role may not know. */
  readonly schemaVersion: number | undefined;
  /** The version that this package works with. */
  readonly latestVersion: number;
  /** Those that the schema should have, and how they are. */
  readonly triggers: readonly TriggerState[];
  readonly tables: readonly TableSize[];
  /** What `prune()` would delete; undefined if this role may not count it, or nothing was migrated. */
  readonly expired: PruneReport | undefined;
  /** How full the notification queue of the cluster is, 0 to 1. */
  readonly notifyQueueUsage: number;
  /** Processes that listen in this database by this package, whatever the schema. */
  readonly listeners: number;
}

export interface InspectionParts {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly schemaCheck: SchemaCheck;
  readonly statements: { readonly notifyQueueUsage: string };
}

const tableNames = ["kojin_results", "kojin_groups", "kojin_group_state", "kojin_migrations"];
const queryTimeoutMs = 10_000;
/** Counting what has expired reads an index from end to end. */
const countTimeoutMs = 60_000;

/** Looks, and changes nothing. */
export async function inspect(parts: InspectionParts): Promise<Inspection> {
  const { options, database, schemaCheck, statements } = parts;
  const { schema } = options;
  const texts = inspectionStatements(schema);
  const ask = async <Row extends unknown[]>(text: string, values: unknown[] = []): Promise<Row[]> =>
    database.query<Row>({ purpose: "look at the database", text, values }, queryTimeoutMs);

  const { server } = await readServer(database, texts);
  const schemaVersion = await unlessMissing(schemaCheck.version(queryTimeoutMs), 0);
  const [usage] = await ask<[number]>(statements.notifyQueueUsage);
  const [listeners] = await ask<[number]>(texts.listeners);
  const tables = await ask<[string, string, string]>(texts.tables, [schema, tableNames]);
  return {
    server,
    schema,
    channel: channelOf(schema),
    schemaVersion,
    latestVersion: latestVersion(),
    triggers: await readTriggers(database, schema, queryTimeoutMs),
    tables: tables.map(([name, rows, bytes]) => ({ name, rows: Number(rows), bytes: Number(bytes) })),
    expired: await unlessDenied(unlessMissing(countExpired(parts), undefined)),
    notifyQueueUsage: Number(usage?.[0]),
    listeners: listeners?.[0] ?? 0,
  };
}

/** How much has expired, at least so long ago. */
export async function countExpired(
  { options, database }: Pick<InspectionParts, "options" | "database">,
  { olderThanMs = 0 }: { readonly olderThanMs?: number } = {},
): Promise<PruneReport> {
  checkDurationMs(olderThanMs, "olderThanMs");
  const { expiredResults, expiredGroups } = inspectionStatements(options.schema);
  const count = async (text: string): Promise<number> => {
    const query = { purpose: "count what has expired", text, values: [olderThanMs] };
    const [row] = await database.query<[string]>(query, countTimeoutMs);
    return Number(row?.[0]);
  };
  return { results: await count(expiredResults), groups: await count(expiredGroups) };
}

/** What the server says of itself, and of the session that asks. */
export async function readServer(database: Database, texts: InspectionStatements): Promise<ServerAnswer> {
  const query = { purpose: "look at the server", text: texts.server, values: [] };
  const [row] = await database.query<[string, number, boolean, string, string]>(query, queryTimeoutMs);
  const [version, versionNumber, isStandby, name, replicationRole] = row ?? ["", 0, false, "", "origin"];
  // Packagers add their own name: `16.4 (Debian 16.4-1)`.
  return {
    server: { version: version.split(" ")[0] ?? version, versionNumber, isStandby, database: name },
    replicationRole,
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
