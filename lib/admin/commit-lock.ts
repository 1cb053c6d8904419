import { setTimeout as sleep } from "node:timers/promises";
import { type Check, type Finding, ok, problem, warning } from "./checks";
import type { Catalog } from "./inspection";

/** Looks at the lock in each of which sessions must wait, and the pauses in between. */
const looks = 5;
const pauseMs = 25;
/** Longest usual wait for the lock. After a quarter of `retryTimeoutMs`, stores commit without their notification. */
const longWaitMs = 1_000;

/** The lock of notifying commits at one moment. */
interface Look {
  /** Sessions that wait for it. */
  readonly waiting: number;
  /** The longest of their waits so far. */
  readonly waitMs: number;
  /** The session that holds it: its process and its name. */
  readonly holder: string;
}

// Returns the sessions that wait for the lock of notifying commits, milliseconds since the first of them began to wait,
// and the session that holds the lock: process and name. A commit locks object 0 of pg_database (PostgreSQL source,
// PreCommit_Notify). Every role sees these columns, unlike the times of transactions.
const lookText = `
  select (pg_catalog.count(*) filter (where not held.granted))::int,
    coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() operator(pg_catalog.-) pg_catalog.min(held.waitstart)), 0::double precision) operator(pg_catalog.*) 1000::double precision,
    pg_catalog.min(held.pid) filter (where held.granted),
    pg_catalog.min(activity.application_name) filter (where held.granted)
  from pg_catalog.pg_locks as held
  left join pg_catalog.pg_stat_activity as activity on activity.pid operator(pg_catalog.=) held.pid
  where held.locktype operator(pg_catalog.=) 'object'
    and held.classid operator(pg_catalog.=) 'pg_catalog.pg_database'::pg_catalog.regclass
    and held.objid operator(pg_catalog.=) 0`;

async function look(catalog: Catalog): Promise<Look> {
  type Row = [waiting: number, waitMs: number, processId: number | null, name: string | null];
  const [[waiting, waitMs, processId, name]] = (await catalog.query<Row>(lookText)) as [Row];
  const holder = processId === null ? "No session" : `Process ${processId} (${name || "unnamed"})`;
  return { waiting, waitMs, holder };
}

const noQueue = "Commits that notify do not queue for their lock.";
const heldRemedy =
  "If the holder changes, commits are slow: use notify: 'deferred'. If it is in SyncRep, it waits for a synchronous standby. If it does nothing, end it: select pg_terminate_backend(pid). See “Notifications are slow” in docs/operations.md.";
const queueRemedy =
  "Use notify: 'deferred' in the processes that store most; see “When to use notify: 'deferred'” in docs/performance.md.";

/** Finds a session that has waited for the lock of notifying commits for long, in one look. */
export const checkHeldLock: Check = async ({ catalog }) => heldLock(await look(catalog)) ?? ok(noQueue);

function heldLock({ waiting, waitMs, holder }: Look): Finding | undefined {
  if (waitMs <= longWaitMs) return undefined;
  const finding = `${waiting} session(s) wait for the lock of notifying commits, the first for ${(waitMs / 1_000).toFixed(1)} s. ${holder} holds it.`;
  return problem(finding, heldRemedy);
}

/**
 * Checks whether commits that notify queue for their lock. One look would also find two commits that happen to meet, so
 * sessions must wait in each of several.
 */
export const checkLock: Check = async ({ catalog }) => {
  const seen: Look[] = [];
  const startedAt = performance.now();
  while (seen.length < looks) {
    if (seen.length > 0) await sleep(pauseMs);
    const latest = await look(catalog);
    const held = heldLock(latest);
    if (held !== undefined) return held;
    if (latest.waiting === 0) return ok(noQueue);
    seen.push(latest);
  }
  const tookMs = Math.round(performance.now() - startedAt);
  const most = Math.max(...seen.map(({ waiting }) => waiting));
  return warning(
    `Commits that notify queue for their lock: in each of ${looks} looks at pg_locks within ${tookMs} ms, sessions waited for it, up to ${most} at a time. ${seen.at(-1)?.holder ?? ""} holds it now.`,
    queueRemedy,
  );
};
