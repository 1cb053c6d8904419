import type { ListenStatus, NotificationSource } from "../notifications/notifier";
import { isError } from "../errors";
import type { ReadProblems } from "../waiting/read-problems";
import {
  type Check,
  type CheckContext,
  checkAccess,
  checkQueue,
  checkSchema,
  checkServer,
  checkTriggers,
  readContext,
} from "./checks";
import { checkHeldLock } from "./commit-lock";
import type { CatalogParts } from "./inspection";

/** Health of a backend, from a few queries. */
export interface Health {
  /** True if results can be stored and read, and notifications arrive or are not needed. */
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

const healthTimeoutMs = 3_000;
const checks: readonly Check[] = [checkServer, checkQueue, checkHeldLock, checkSchema];
const tableChecks: readonly Check[] = [checkTriggers, checkAccess];

export interface HealthParts extends CatalogParts {
  readonly notifications: NotificationSource;
  readonly problems: ReadProblems;
}

/** Reads the health of a backend. Never rejects: a database that does not answer is reported as a problem. */
export async function readHealth(parts: HealthParts): Promise<Health> {
  const { status, reconnects, heartbeatMs, problem } = parts.notifications.report;
  const problems = [...(problem === undefined ? [] : [problem]), ...parts.problems.messages];
  let context: CheckContext | undefined;
  try {
    context = await readContext(parts, healthTimeoutMs);
    problems.push(...(await findProblems(context)));
  } catch (error) {
    problems.push(isError(error) ? error.message : String(error));
  }
  return {
    ok: problems.length === 0,
    status,
    problems,
    databaseMs: context?.facts.tookMs,
    schemaVersion: context?.schemaVersion,
    notifyQueueUsage: context?.facts.notifyQueueUsage,
    heartbeatMs,
    reconnects,
  };
}

async function findProblems(context: CheckContext): Promise<string[]> {
  const problems: string[] = [];
  for (const check of context.hasTables ? [...checks, ...tableChecks] : checks) {
    const { verdict, finding, remedy } = await check(context);
    if (verdict === "problem") problems.push(`${finding} ${remedy}`);
  }
  return problems;
}
