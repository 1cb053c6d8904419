import { randomUUID } from "node:crypto";
import { firstValueFrom, Subject } from "rxjs";
import { isError } from "../errors";
import type { ListenReport, NotificationSource } from "../notifications/notifier";
import type { Results } from "../results/results";
import type { Writer } from "../results/writer";
import { checkOptions } from "../value/arguments";
import { encodeResult, toStoreRow } from "../value/encoding";
import type { WakeCause, Watcher } from "../waiting/router";
import { watch$ } from "../waiting/waits";
import {
  type Check,
  checkAccess,
  checkChannel,
  type CheckContext,
  checkQueue,
  checkRights,
  checkSchema,
  checkServer,
  checkSettings,
  checkSubscriptions,
  checkTriggers,
  type Finding,
  ok,
  problem,
  readContext,
  unknown,
  warning,
} from "./checks";
import { checkLock } from "./commit-lock";
import type { CatalogParts } from "./inspection";

/** Name of a check, in kebab-case. */
export type CheckName =
  | "server"
  | "pooler"
  | "listening"
  | "queue"
  | "lock"
  | "listeners"
  | "settings"
  | "schema"
  | "triggers"
  | "rights"
  | "access"
  | "channel"
  | "subscriptions"
  | "round-trip";

/** The outcome of one check of `diagnose()`. */
export interface Diagnosis extends Finding {
  /** A constant to switch on. */
  readonly check: CheckName;
}

export interface DiagnoseOptions {
  /** Stores a result, waits for it and deletes it. Default `true`: no other check covers the whole path. */
  readonly probe?: boolean;
}

export interface DiagnosisParts extends CatalogParts {
  readonly notifications: NotificationSource;
  readonly writer: Writer;
  readonly results: Results;
  ready(): Promise<void>;
}

interface DiagnosisContext extends CheckContext {
  readonly parts: DiagnosisParts;
  /** Read after LISTEN was confirmed or given up. */
  readonly report: ListenReport;
  /** Name of the notifier, such as `NATS`; undefined for LISTEN. */
  readonly notifier: string | undefined;
}

const checkTimeoutMs = 5_000;
const slowHeartbeatMs = 1_000;
/** Up to PostgreSQL 18, each commit that notifies wakes all of them. */
const manyListeners = 200;
const maxProbes = 5;
/** Longer than the interval of reads without notifications. */
const probeTimeoutMs = 5_000;
/** Expiry of the probe's result, in case the process ends before it deletes the result. */
const probeTtlMs = 60_000;

/** Checks whether a pooler keeps notifications away. */
const checkPooler: Check<DiagnosisContext> = async ({ parts, report, notifier }) => {
  if (notifier !== undefined) return ok(`Notifications travel over ${notifier}, so a pooler does not affect them.`);
  if (!(await parts.database.isPooled(checkTimeoutMs))) return ok("The pool connects to the server directly.");
  if (report.status === "listening") return ok("The pool connects through a pooler, and LISTEN has its own session.");
  return problem(
    "The pool connects through a pooler that passes no notifications, as in transaction mode. Waits read every second instead.",
    "Give LISTEN a direct address: listen: { connection } in code, --listen-url here. Or set the pooler to session mode.",
  );
};

/** Checks whether notifications arrive. */
const checkListening: Check<DiagnosisContext> = ({ report, notifier }) => {
  const { status, heartbeatMs, problem: reason } = report;
  const way = notifier === undefined ? "" : ` over ${notifier}`;
  if (status !== "listening" || reason !== undefined)
    return problem(
      `Notifications do not arrive${way}: ${reason ?? `the status is ${status}.`}`,
      notifier === undefined
        ? "Results arrive at most a second late. The checks above often show the cause; see “Not listening” in docs/operations.md."
        : `Check the addresses, the credentials and the user's permissions; see docs/nats.md. Without ${notifier}, results arrive at most a second late.`,
    );
  const path = notifier === undefined ? "from the pool to the listener" : "for a round trip";
  const took = heartbeatMs === undefined ? "" : `, ${heartbeatMs.toFixed(1)} ms ${path}`;
  if (notifier === undefined && (heartbeatMs ?? 0) > slowHeartbeatMs)
    return warning(
      `Notifications arrive slowly${took}.`,
      "Find the session that holds the lock of notifying commits; see “Notifications are slow” in docs/operations.md.",
    );
  return ok(`Notifications arrive${way}${took}.`);
};

/** Checks whether so many processes listen that each notification becomes expensive. */
const checkListeners: Check<DiagnosisContext> = ({ facts: { listeners: count }, notifier }) => {
  const own = notifier === undefined ? ", including this one" : `; this one uses ${notifier}`;
  if (count <= manyListeners) return ok(`${count} process(es) listen in this database${own}.`);
  return warning(
    `${count} processes listen in this database. Up to PostgreSQL 18, each commit that notifies wakes all of them.`,
    "Wait in fewer processes, or store in larger batches; see “Sizing” in docs/operations.md.",
  );
};

/** Checks the whole path: stores a result, and checks what wakes the wait for it. */
const checkRoundTrip: Check<DiagnosisContext> = async ({ parts, report, notifier }) => {
  let { wokenBy, tookMs } = await probeRoundTrip(parts);
  // A read after a reconnect found the result, which proves nothing about notifications.
  for (let tries = 1; wokenBy === "reconnect" && tries < maxProbes; tries += 1)
    ({ wokenBy, tookMs } = await probeRoundTrip(parts));
  const took = `${tookMs.toFixed(1)} ms`;
  if (wokenBy === "notification" || wokenBy === "inline") return ok(`A stored result woke its wait in ${took}.`);
  const how = wokenBy === "timeout" ? `was not found within ${took}` : `was found only by a read, after ${took}`;
  return problem(
    `A stored result ${how}; no notification arrived.`,
    roundTripRemedy(notifier, report.status === "listening"),
  );
};

function roundTripRemedy(notifier: string | undefined, isListening: boolean): string {
  if (!isListening)
    return `Fix the ${notifier === undefined ? "listener" : `connection to ${notifier}`} first; see above.`;
  return notifier === undefined
    ? "The listener works, so no notification is sent. Check triggers, channel and settings above, and whether pool and listener connect to the same server."
    : `${notifier} is connected, so published messages do not arrive. Check the permissions to publish and subscribe, and whether the servers are connected to each other.`;
}

interface Probe {
  /** Cause that woke the wait; `timeout` if none did. */
  readonly wokenBy: WakeCause | "timeout";
  /** Time from the call that stored the result, in milliseconds. */
  readonly tookMs: number;
}

/** Stores a result of its own, waits for it and deletes it. */
async function probeRoundTrip(parts: DiagnosisParts): Promise<Probe> {
  const { results, writer, options } = parts;
  const taskId = `kojin-probe:${randomUUID()}`;
  const arrival$ = new Subject<WakeCause | "timeout">();
  const arrival = firstValueFrom(arrival$);
  // A wait in addition to the stream below: the stream keeps the listener connected, but does not report its cause.
  const watcher: Watcher<unknown> = {
    key: taskId,
    beganAt: results.deadlines.now(),
    next: (_value, cause) => arrival$.next(cause),
    error: (error) => arrival$.error(error),
  };
  results.router.add(watcher);
  const watching = watch$(results, taskId).subscribe({ error: (error: unknown) => arrival$.error(error) });
  const timer = setTimeout(() => arrival$.next("timeout"), probeTimeoutMs);
  try {
    // After this read, the first read of the wait can no longer find the result.
    await Promise.race([results.loader.load(taskId, "read"), arrival]);
    const storedAt = performance.now();
    await writer.store(toStoreRow(taskId, encodeResult(taskId, null, options.maxResultBytes), null, {}, probeTtlMs));
    return { wokenBy: await arrival, tookMs: performance.now() - storedAt };
  } finally {
    clearTimeout(timer);
    watching.unsubscribe();
    results.router.remove(watcher);
    arrival.catch(() => undefined);
    await writer.delete(taskId).catch(() => undefined);
  }
}

/** The checks in order: an earlier one can explain a later one. */
const checks: readonly (readonly [CheckName, Check<DiagnosisContext>])[] = [
  ["server", checkServer],
  ["pooler", checkPooler],
  ["listening", checkListening],
  ["queue", checkQueue],
  ["lock", checkLock],
  ["listeners", checkListeners],
  ["settings", checkSettings],
  ["schema", checkSchema],
];

/** Checks that need the tables. */
const tableChecks: typeof checks = [
  ["triggers", checkTriggers],
  ["rights", checkRights],
  ["access", checkAccess],
  ["channel", checkChannel],
  ["subscriptions", checkSubscriptions],
  ["round-trip", checkRoundTrip],
];

/** Runs all checks. A check that fails is reported as `unknown`. */
export async function diagnose(parts: DiagnosisParts, options: DiagnoseOptions = {}): Promise<readonly Diagnosis[]> {
  checkOptions(options, { probe: true });
  const { probe = true } = options;
  await parts.ready();
  const context: DiagnosisContext = {
    ...(await readContext(parts, checkTimeoutMs)),
    parts,
    report: parts.notifications.report,
    notifier: parts.options.notifier?.name,
  };
  const diagnoses: Diagnosis[] = [];
  // One after the other, so that a server in trouble does not get 14 queries at once.
  for (const [check, run] of context.hasTables ? [...checks, ...tableChecks] : checks) {
    if (check === "round-trip" && !probe) continue;
    diagnoses.push({ check, ...(await findingOf(run, context)) });
  }
  return diagnoses;
}

async function findingOf(check: Check<DiagnosisContext>, context: DiagnosisContext): Promise<Finding> {
  try {
    return await check(context);
  } catch (error) {
    return unknown(isError(error) ? error.message : String(error));
  }
}
