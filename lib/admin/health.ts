import type { ListenStatus, NotificationSource } from "../notifications/notifier";
import { latestVersion } from "../schema/migration-files";
import { isError } from "../errors";
import type { ReadProblems } from "../waiting/read-problems";
import { Inspector, type InspectorParts } from "./inspection";

/** Whether a backend works, from a few queries. */
export interface Health {
  /** Whether results can be stored and read, and notifications arrive or are not needed. */
  readonly ok: boolean;
  readonly status: ListenStatus;
  /** The problems, each as a sentence with its remedy; empty if there are none. */
  readonly problems: readonly string[];
  /** Time of one query, in milliseconds; undefined if the database did not answer. */
  readonly databaseMs: number | undefined;
  /** The version of the tables; undefined if it could not be read. */
  readonly schemaVersion: number | undefined;
  /**
   * Fill level of the cluster's notification queue, 0 to 1. When the queue is full, every write that notifies fails.
   */
  readonly notifyQueueUsage: number | undefined;
  /**
   * Time of the latest heartbeat from the pool to the listener, in milliseconds; with the option `notifier`, the round
   * trip.
   */
  readonly heartbeatMs: number | undefined;
  /** Connections for notifications that were lost or given up so far. */
  readonly reconnects: number;
}

/** From this fill level on, the notification queue is reported. The server itself warns at 0.5. */
export const maxQueueUsage = 0.25;
const healthTimeoutMs = 3_000;

export interface HealthParts extends InspectorParts {
  readonly notifications: NotificationSource;
  readonly problems: ReadProblems;
}

/** Never rejects: a database that does not answer is one of the problems. */
export async function readHealth(parts: HealthParts): Promise<Health> {
  const { status, reconnects, heartbeatMs, problem } = parts.notifications.report;
  const problems = [...(problem === undefined ? [] : [problem]), ...parts.problems.messages];
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
  parts: HealthParts,
  problems: string[],
): Promise<Pick<Health, "databaseMs" | "schemaVersion" | "notifyQueueUsage">> {
  const inspector = new Inspector(parts, healthTimeoutMs);
  const schemaVersion = await parts.schemaCheck.version(healthTimeoutMs);
  const startedAt = performance.now();
  const notifyQueueUsage = await inspector.notifyQueueUsage();
  const databaseMs = performance.now() - startedAt;
  if (notifyQueueUsage > maxQueueUsage)
    problems.push(`The notification queue is ${Math.round(notifyQueueUsage * 100)} % full.`);
  if (schemaVersion !== undefined && schemaVersion !== latestVersion())
    problems.push(`The schema has version ${schemaVersion}, but this package needs ${latestVersion()}.`);
  for (const { finding, remedy } of await inspector.accessProblems()) problems.push(`${finding} ${remedy}`);
  const idle = await inspector.idleTriggers(parts.options.notify !== "off");
  if (idle.length > 0) {
    const names = idle.map(({ name }) => name).join(", ");
    problems.push(
      `Triggers are missing or disabled, so that writes send no notifications or are not counted: ${names}. Call migrate() to repair them.`,
    );
  }
  return { databaseMs, schemaVersion, notifyQueueUsage };
}
