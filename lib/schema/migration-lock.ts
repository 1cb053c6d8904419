import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../database/retry";
import type { Database } from "../database/database";
import { BeginError, type TransactionLimits } from "../database/transaction";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";
import { describeHolders, type LockHolder, readAdvisoryHolders, readTableHolders } from "./lock-holders";

/**
 * Longest wait for one lock, per attempt. Writers queue behind a lock that is waited for, so this is how long a migration can hold them up. It is below the default
 * `deadlock_timeout` of 1 s: where a migration and a writer block each other, the migration is the one that gives up.
 */
const lockTimeoutMs = 700;
const longestPauseMs = 2_000;
/** Longest time that one transaction, or one session, may keep the migration lock from all others. */
const longestTurnMs = 30_000;
const transactionLimits = { timeoutMs: 300_000, lockTimeoutMs };
const maxAttempts = 6;
/**
 * How long the first attempt waits for `begin`, each further one twice as long. At a server it waits for nothing, so a connection on which it takes longer is dead, and
 * another is tried. A transaction pooler looks the same while other processes, that migrate too, keep all its connections to the server busy: 155 s are for them.
 */
const firstBeginTimeoutMs = 5_000;

/** The name of the lock that is held in each transaction of a migration. */
export const lockKey = (schema: string): string => `kojin-postgres migrate ${schema}`;

export interface AttemptOptions {
  /** Whether the migration lock is needed. Default true. */
  readonly isExclusive?: boolean;
  /** Longest time for a statement, asked anew at each attempt; undefined for that of the transaction. A statement that takes longer is tried again. */
  readonly statementTimeoutMs?: () => number | undefined;
  readonly onRetry?: () => void;
}

interface Turn {
  /** Undefined where the lock was granted; else what tells its present holder from the next one. */
  readonly blockedBy: string | undefined;
  readonly key: string;
}

/** Runs short transactions, each under the migration lock, and repeats them until they get their locks. */
export class MigrationLock {
  readonly #database: Database;
  readonly #schema: string;
  readonly #lockWaitMs: number;
  readonly #onWait: (waitingFor: string) => void;

  constructor(database: Database, schema: string, lockWaitMs: number, onWait: (waitingFor: string) => void) {
    this.#database = database;
    this.#schema = schema;
    this.#lockWaitMs = lockWaitMs;
    this.#onWait = onWait;
  }

  /** @throws {@link DatabaseError} Another session kept a lock for too long; the message names it. */
  async run<T>(work: (client: SqlClient) => Promise<T>, options: AttemptOptions = {}): Promise<T> {
    const startedAt = performance.now();
    let failures = 0;
    let blocked = { by: "", since: startedAt };
    for (let attempt = 1; ; attempt += 1) {
      const statementTimeoutMs = options.statementTimeoutMs?.();
      const limits = { ...transactionLimits, statementTimeoutMs, beginTimeoutMs: firstBeginTimeoutMs * 2 ** failures };
      const outcome = await this.#attempt(work, options, limits).catch((error: unknown) => ({
        error,
      }));
      if ("value" in outcome) return outcome.value;
      if ("turn" in outcome) {
        const { blockedBy = "", key } = outcome.turn;
        if (blockedBy !== blocked.by) blocked = { by: blockedBy, since: performance.now() };
        const limitMs = Math.min(longestTurnMs, this.#lockWaitMs);
        await this.#wait("its migration lock", attempt, blocked.since, limitMs, async () =>
          readAdvisoryHolders(this.#database, key),
        );
      } else if (isLockTimeout(outcome.error)) {
        options.onRetry?.();
        await this.#wait("a lock on its tables", attempt, startedAt, this.#lockWaitMs, async () =>
          readTableHolders(this.#database, this.#schema),
        );
      } else {
        failures += 1;
        const isRepeatable = isWorthAnotherAttempt(outcome.error, statementTimeoutMs !== undefined);
        if (!isRepeatable || failures === maxAttempts) throw outcome.error;
        options.onRetry?.();
      }
      await sleep(backoffMs(attempt, 30, longestPauseMs));
    }
  }

  /** Reports the sessions that are waited for. @throws {@link DatabaseError} There is no time left. */
  async #wait(
    lock: string,
    attempt: number,
    since: number,
    limitMs: number,
    readHolders: () => Promise<readonly LockHolder[]>,
  ): Promise<void> {
    const waitedMs = performance.now() - since;
    // The first attempts mostly meet a transaction that is about to end.
    if (attempt < 3 && waitedMs <= limitMs) return;
    const holders = describeHolders(await readHolders());
    this.#onWait(holders);
    if (waitedMs <= limitMs) return;
    const waited = `waited ${Math.round(waitedMs / 1_000)} s for ${lock}, held by ${holders}`;
    throw new DatabaseError(`Could not migrate schema "${this.#schema}": ${waited}.`, sqlStates.lockNotAvailable, true);
  }

  async #attempt<T>(
    work: (client: SqlClient) => Promise<T>,
    { isExclusive = true }: AttemptOptions,
    limits: TransactionLimits,
  ): Promise<{ readonly value: T } | { readonly turn: Turn }> {
    return this.#database.transaction("migrate", limits, async (client) => {
      // Ends with the transaction. With this path no name is found but those of Postgres itself.
      await client.query("select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)", []);
      if (isExclusive) {
        const turn = await takeTurn(client, this.#schema);
        if (turn.blockedBy !== undefined) return { turn };
      }
      return { value: await work(client) };
    });
  }
}

/**
 * Takes the migration lock if it is free. It ends with the transaction, so a process that dies leaves nothing locked. Waiting in the server would hold a snapshot, which a
 * concurrent index build of the holder would wait for in turn.
 */
async function takeTurn(client: SqlClient, schema: string): Promise<Turn> {
  const { rows } = await client.query(
    `select key::pg_catalog.text as key, pg_catalog.pg_try_advisory_xact_lock(key) as is_mine
     from (select pg_catalog.hashtextextended($1::pg_catalog.text, 0) as key) as lock`,
    [lockKey(schema)],
  );
  const key = String(rows[0]?.["key"]);
  if (rows[0]?.["is_mine"] === true || rows[0]?.["is_mine"] === "t") return { blockedBy: undefined, key };
  const { rows: holders } = await client.query(
    `select pg_catalog.concat(pid, ' ', virtualtransaction) as holder from pg_catalog.pg_locks
     where locktype operator(pg_catalog.=) 'advisory'::pg_catalog.text and granted and objsubid operator(pg_catalog.=) 1
       and ((classid::bigint operator(pg_catalog.<<) 32) operator(pg_catalog.|) objid::bigint) operator(pg_catalog.=) $1::bigint`,
    [key],
  );
  return { blockedBy: String(holders[0]?.["holder"] ?? "a session that has ended since"), key };
}

const isLockTimeout = (error: unknown): boolean =>
  error instanceof DatabaseError && error.sqlState === sqlStates.lockNotAvailable;

const repeatableStates: ReadonlySet<string | undefined> = new Set([
  sqlStates.deadlockDetected,
  sqlStates.serializationFailure,
  // `if not exists` looks before it creates, and another session may create in between.
  sqlStates.uniqueViolation,
  sqlStates.duplicateTable,
  sqlStates.duplicateSchema,
  sqlStates.duplicateObject,
]);

function isWorthAnotherAttempt(error: unknown, hasStatementTimeout: boolean): boolean {
  if (!(error instanceof DatabaseError)) return false;
  if (hasStatementTimeout && error.sqlState === sqlStates.queryCanceled) return true;
  return repeatableStates.has(error.sqlState) || error.cause instanceof BeginError;
}
