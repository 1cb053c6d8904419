import { accessProblems } from "../database/access";
import type { Database } from "../database/database";
import type { NotificationSource, ListenStatus } from "../notifications/notifier";
import { latestVersion } from "../schema/migration-files";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import { idleTriggers, onlyAnnounces } from "../schema/triggers";
import type { ResultStatements } from "../results/statements";
import { isError } from "../value/foreign";
import type { Troubles } from "../waiting/troubles";

/** What an operator asks first; made by asking the database. */
export interface Health {
  /** Whether results can be stored and read, and notifications are heard or not needed. */
  readonly ok: boolean;
  readonly status: ListenStatus;
  /** What is wrong, in words; empty when all is well. */
  readonly problems: readonly string[];
  /** Time one query took, in milliseconds; undefined if the database did not answer. */
  readonly databaseMs: number | undefined;
  /** The version of the tables; undefined if it could not be read. */
  readonly schemaVersion: number | undefined;
  /** How full the notification queue of the cluster is, 0 to 1. When it is full, writes that notify fail, everybody's. */
  readonly notifyQueueUsage: number | undefined;
  /** Time the latest heartbeat took from the pool to the listener, in milliseconds; with the option `notifier`, there and back. */
  readonly heartbeatMs: number | undefined;
  /** Connections for notifications that were lost or given up so far. */
  readonly reconnects: number;
}

/** From here on a filling queue should be looked at; at 0.5 the server itself begins to warn. */
const queueUsageAlarm = 0.25;
const healthTimeoutMs = 3_000;

export interface HealthParts {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly statements: ResultStatements;
  readonly schemaCheck: SchemaCheck;
  readonly notifications: NotificationSource;
  readonly troubles: Troubles;
}

/** Never rejects: a database that does not answer is an answer. */
export async function readHealth(parts: HealthParts): Promise<Health> {
  const { status, reconnects, heartbeatMs, problem } = parts.notifications.report;
  const problems = [...(problem === undefined ? [] : [problem]), ...parts.troubles.problems];
  const unknown = { databaseMs: undefined, schemaVersion: undefined, notifyQueueUsage: undefined };
  let known: Pick<Health, keyof typeof unknown> = unknown;
  try {
    known = await askDatabase(parts, problems);
  } catch (error) {
    problems.push(isError(error) ? error.message : String(error));
  }
  return { ok: problems.length === 0, status, reconnects, heartbeatMs, problems, ...known };
}

async function askDatabase(
  { options, database, statements, schemaCheck }: HealthParts,
  problems: string[],
): Promise<Pick<Health, "databaseMs" | "schemaVersion" | "notifyQueueUsage">> {
  const startedAt = performance.now();
  const schemaVersion = await schemaCheck.version(healthTimeoutMs);
  const databaseMs = performance.now() - startedAt;
  const usageQuery = { purpose: "read the queue usage", text: statements.notifyQueueUsage, values: [] };
  const [usage] = await database.query<[number]>(usageQuery, healthTimeoutMs);
  const notifyQueueUsage = Number(usage?.[0]);
  if (notifyQueueUsage > queueUsageAlarm)
    problems.push(`The notification queue is ${Math.round(notifyQueueUsage * 100)} % full.`);
  if (schemaVersion !== undefined && schemaVersion !== latestVersion()) {
    problems.push(`The schema has version ${schemaVersion}, expected is ${latestVersion()}.`);
  }
  problems.push(...(await accessProblems(database, options.schema, healthTimeoutMs)));
  const isAnnouncing = options.notify !== "off";
  const triggers = await idleTriggers(database, options.schema, healthTimeoutMs);
  const idle = triggers.filter((name) => isAnnouncing || !onlyAnnounces(name));
  if (idle.length > 0) {
    problems.push(
      `Triggers are missing or disabled, so that writes are not announced or not counted: ${idle.join(", ")}. Call migrate() to repair them.`,
    );
  }
  return { databaseMs, schemaVersion, notifyQueueUsage };
}
