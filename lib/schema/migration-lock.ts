import { setTimeout as sleep } from "node:timers/promises";
import { BeginError, type Database, type TransactionLimits } from "../database/database";
import { backoffMs } from "../database/retry";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";

/**
 * Longest wait for one lock, per attempt. Writers queue behind a lock request, so this is how long a migration can
 * delay them. It is below the default `deadlock_timeout` of 1 s, so that in a deadlock with a writer the migration
 * gives up first.
 */
const lockTimeoutMs = 700;
const longestPauseMs = 2_000;
/** Longest time for which one transaction, or one session, may hold the migration lock. */
const longestTurnMs = 30_000;
const maxFailures = 6;
/**
 * Longest wait of the first attempt for the answer to `begin`; each failure doubles it. A server answers at once, so a
 * slower connection is dead, or belongs to a transaction pooler whose server connections are all used by other
 * migrating processes. The doubling leaves these 155 s.
 */
const firstBeginTimeoutMs = 5_000;

/** For the description of the sessions that hold a lock. */
const lookTimeoutMs = 5_000;

/** Returns the name of the lock that is held in each transaction of a migration. */
export const lockKey = (schema: string): string => `kojin-postgres migrate ${schema}`;

export interface AttemptOptions {
  /** Takes the migration lock. Default true. */
  readonly isExclusive?: boolean;
  /**
   * Returns the longest time for a statement, before each attempt; undefined for that of the transaction. A statement
   * that takes longer is tried again.
   */
  readonly statementTimeoutMs?: () => number | undefined;
  readonly onRetry?: () => void;
}

/** Holder of the migration lock, as a text that is different for the next holder. */
interface Blocked {
  readonly blockedBy: string;
  readonly key: string;
}

/** The work that takes locks on tables. */
export interface LockingWork {
  /** For error messages: `attach to pgboss.job`. */
  readonly purpose: string;
  /** Describes the sessions that hold locks on the tables. */
  describeHolders(): Promise<string>;
}

type Attempt<T> = { readonly value: T } | Blocked | { readonly error: unknown };

/** Runs short transactions, each under the migration lock, and repeats them until they get their locks. */
export class MigrationLock {
  readonly #database: Database;
  readonly #schema: string;
  readonly #lockWaitMs: number;
  readonly #onWait: (waitingFor: string) => void;
  readonly #work: LockingWork;

  /** @param work - Default: a migration of the schema. */
  constructor(
    database: Database,
    schema: string,
    lockWaitMs: number,
    onWait: (waitingFor: string) => void,
    work: LockingWork = {
      purpose: `migrate schema "${schema}"`,
      describeHolders: async () => describeTableHolders(database, schema),
    },
  ) {
    this.#database = database;
    this.#schema = schema;
    this.#lockWaitMs = lockWaitMs;
    this.#onWait = onWait;
    this.#work = work;
  }

  /** @throws {@link DatabaseError} Another session kept a lock for too long; the message names it. */
  async run<T>(work: (client: SqlClient) => Promise<T>, options: AttemptOptions = {}): Promise<T> {
    const startedAt = performance.now();
    let failures = 0;
    let blocked = { by: "", since: startedAt };
    for (let attempt = 1; ; attempt += 1) {
      const statementTimeoutMs = options.statementTimeoutMs?.();
      const beginTimeoutMs = firstBeginTimeoutMs * 2 ** failures;
      const limits = { timeoutMs: 300_000, lockTimeoutMs, statementTimeoutMs, beginTimeoutMs };
      const outcome = await this.#attempt(work, options.isExclusive ?? true, limits);
      if ("value" in outcome) return outcome.value;
      if ("blockedBy" in outcome) {
        const { blockedBy, key } = outcome;
        if (blockedBy !== blocked.by) blocked = { by: blockedBy, since: performance.now() };
        const limitMs = Math.min(longestTurnMs, this.#lockWaitMs);
        const holders = async (): Promise<string> => describeAdvisoryHolders(this.#database, key);
        await this.#wait("its migration lock", attempt, blocked.since, limitMs, holders);
      } else {
        options.onRetry?.();
        if (isLockTimeout(outcome.error)) await this.#waitForTables(attempt, startedAt);
        else if (!isRepeatable(outcome.error, statementTimeoutMs) || (failures += 1) === maxFailures)
          throw outcome.error;
      }
      await sleep(backoffMs(attempt, 30, longestPauseMs));
    }
  }

  async #waitForTables(attempt: number, since: number): Promise<void> {
    const holders = async (): Promise<string> => this.#work.describeHolders();
    await this.#wait("a lock on its tables", attempt, since, this.#lockWaitMs, holders);
  }

  /** Reports the blocking sessions. @throws {@link DatabaseError} There is no time left. */
  async #wait(
    lock: string,
    attempt: number,
    since: number,
    limitMs: number,
    describeHolders: () => Promise<string>,
  ): Promise<void> {
    const waitedMs = performance.now() - since;
    // Most locks that the first attempts meet are released shortly afterwards.
    if (attempt < 3 && waitedMs <= limitMs) return;
    const holders = (await describeHolders()) || "a session that has ended since";
    this.#onWait(holders);
    if (waitedMs <= limitMs) return;
    const waited = `waited ${Math.round(waitedMs / 1_000)} s for ${lock}, held by ${holders}`;
    throw new DatabaseError(`Could not ${this.#work.purpose}: ${waited}.`, sqlStates.lockNotAvailable, true);
  }

  async #attempt<T>(
    work: (client: SqlClient) => Promise<T>,
    isExclusive: boolean,
    limits: TransactionLimits,
  ): Promise<Attempt<T>> {
    const run = async (client: SqlClient): Promise<Attempt<T>> => {
      // Lasts until the transaction ends. With this path only names of Postgres itself are found.
      await client.query("select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)", []);
      const blocked = isExclusive ? await takeTurn(client, this.#schema) : undefined;
      return blocked ?? { value: await work(client) };
    };
    return this.#database.transaction("migrate", limits, run).catch((error: unknown) => ({ error }));
  }
}

/**
 * Takes the migration lock, or returns its holder. The lock ends with the transaction, so a process that crashes leaves
 * nothing locked. Does not wait in the server: that would hold a snapshot, for which a concurrent index build of the
 * holder would wait in turn.
 */
async function takeTurn(client: SqlClient, schema: string): Promise<Blocked | undefined> {
  const { rows } = await client.query(
    `select key::pg_catalog.text as key, pg_catalog.pg_try_advisory_xact_lock(key) as is_mine
     from (select pg_catalog.hashtextextended($1::pg_catalog.text, 0) as key) as lock`,
    [lockKey(schema)],
  );
  const [lock] = rows as { key: string; is_mine: boolean }[];
  if (lock?.is_mine === true) return undefined;
  const key = String(lock?.key);
  const { rows: holders } = await client.query(
    `select pg_catalog.concat(pid, ' ', virtualtransaction) as holder from pg_catalog.pg_locks
     where locktype operator(pg_catalog.=) 'advisory'::pg_catalog.text and granted and objsubid operator(pg_catalog.=) 1
       and ((classid::bigint operator(pg_catalog.<<) 32) operator(pg_catalog.|) objid::bigint) operator(pg_catalog.=) $1::bigint`,
    [key],
  );
  return { blockedBy: String(holders[0]?.["holder"] ?? ""), key };
}

/** Tells whether another session has kept a lock for too long. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof DatabaseError && error.sqlState === sqlStates.lockNotAvailable;

const repeatableStates: ReadonlySet<string | undefined> = new Set([
  sqlStates.deadlockDetected,
  sqlStates.serializationFailure,
  // With `if not exists`, another session may still create the object between the check and the creation.
  sqlStates.uniqueViolation,
  sqlStates.duplicateTable,
  sqlStates.duplicateSchema,
  sqlStates.duplicateObject,
]);

/** Tells whether another session has interfered, so that repeating the work may succeed. */
export const isCollision = (error: unknown): boolean =>
  error instanceof DatabaseError && repeatableStates.has(error.sqlState);

function isRepeatable(error: unknown, statementTimeoutMs: number | undefined): boolean {
  if (!(error instanceof DatabaseError)) return false;
  if (statementTimeoutMs !== undefined && error.sqlState === sqlStates.queryCanceled) return true;
  return isCollision(error) || error.cause instanceof BeginError;
}

/** Describes the sessions that hold an advisory lock, whose key is a bigint as text. */
async function describeAdvisoryHolders(database: Database, key: string): Promise<string> {
  const condition = `exists (
    select from pg_catalog.pg_locks as lock
    where lock.pid operator(pg_catalog.=) holder.pid and lock.granted
      and lock.locktype operator(pg_catalog.=) 'advisory'::pg_catalog.text and lock.objsubid operator(pg_catalog.=) 1
      and lock.database operator(pg_catalog.=) holder.datid
      and ((lock.classid::bigint operator(pg_catalog.<<) 32) operator(pg_catalog.|) lock.objid::bigint)
        operator(pg_catalog.=) $1::bigint
  )`;
  return describeHolders(database, condition, [key]);
}

/** Describes the sessions whose transactions have locked tables of a schema for longest. */
async function describeTableHolders(database: Database, schema: string): Promise<string> {
  const condition = `exists (
    select from pg_catalog.pg_locks as lock
    join pg_catalog.pg_class as relation on relation.oid operator(pg_catalog.=) lock.relation
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
    where lock.pid operator(pg_catalog.=) holder.pid and lock.granted
      and namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name
      and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
  )`;
  return describeHolders(database, condition, [schema]);
}

/**
 * Describes the sessions with the oldest snapshots. A concurrent index build waits for them even if they lock nothing.
 */
export async function describeSnapshotHolders(database: Database): Promise<string> {
  const condition = `(holder.backend_xmin is not null or holder.backend_xid is not null) and not exists (
    select from pg_catalog.pg_stat_progress_create_index as build where build.pid operator(pg_catalog.=) holder.pid
  )`;
  return describeHolders(database, condition, []);
}

type HolderRow = [pid: string, application: string, user: string, state: string, forSeconds: string | null];

/**
 * Describes the sessions of this database that meet a condition, as in `process 4711 (user "app", idle, for 93 s)`;
 * empty if there is none.
 */
export async function describeHolders(database: Database, condition: string, values: unknown[]): Promise<string> {
  const text = `
    select holder.pid::pg_catalog.text, holder.application_name, coalesce(holder.usename::pg_catalog.text, ''),
      coalesce(holder.state, ''), pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()
        operator(pg_catalog.-) coalesce(holder.xact_start, holder.backend_start))::int::pg_catalog.text
    from pg_catalog.pg_stat_activity as holder
    where holder.pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid()
      and holder.datname operator(pg_catalog.=) pg_catalog.current_database() and ${condition}
    order by holder.xact_start
    limit 3`;
  const rows = await database.query<HolderRow>({ purpose: "look for lock holders", text, values }, lookTimeoutMs);
  return rows.map(describeHolder).join("; ");
}

/** Omits the state and time if this role may not see the activity of the session. */
function describeHolder([pid, application, user, state, forSeconds]: HolderRow): string {
  const facts = [`application ${JSON.stringify(application)}`, `user ${JSON.stringify(user)}`];
  if (state !== "") facts.push(state);
  if (forSeconds !== null) facts.push(`for ${forSeconds} s`);
  return `process ${pid} (${facts.join(", ")})`;
}
