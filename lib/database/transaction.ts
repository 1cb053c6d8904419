/** Limits of a transaction, in milliseconds. */
export interface TransactionLimits {
  /** For the whole transaction, the wait for a connection included. */
  readonly timeoutMs: number;
  /** For the answer to `begin`. */
  readonly beginTimeoutMs: number;
  /** For one lock. */
  readonly lockTimeoutMs?: number | undefined;
  /** For one statement, on the server. Default: all the time that is left. */
  readonly statementTimeoutMs?: number | undefined;
  /** A statement that fails if it comes too late, sent in one piece with `commit`, which then does nothing. */
  readonly commitGuard?: string | undefined;
}

/**
 * Longest time that the server lets a transaction wait for its next statement. Each statement follows the answer to the
 * one before, so one that does not come is lost, and the transaction's locks are to be free again.
 */
const idleTimeoutMs = 30_000;

/** Overrides the role's default, since what follows a wait for a lock has to see what was committed meanwhile. */
const beginText = "begin isolation level read committed";

/** Lifts the role's `transaction_timeout`, which exists since version 17. */
const unlimitedText = `; select case when pg_catalog.current_setting('transaction_timeout', true) is not null then pg_catalog.set_config('transaction_timeout', '0', true) end`;

/** The cause of an error before a transaction began: nothing has happened, and another connection may do better. */
export class BeginError extends Error {
  override readonly name = "BeginError";
}

/** Begins a transaction that the server itself ends if it takes longer than `limits`, or is not continued. */
export function beginWithin(limits: TransactionLimits, leftMs: number): string {
  const { lockTimeoutMs, statementTimeoutMs = Infinity } = limits;
  const settings = {
    statement_timeout: Math.min(leftMs, statementTimeoutMs),
    idle_in_transaction_session_timeout: Math.min(leftMs, idleTimeoutMs),
    ...(lockTimeoutMs === undefined ? {} : { lock_timeout: lockTimeoutMs }),
  };
  const sets = Object.entries(settings).map(([name, ms]) => `; set local ${name} = ${toServerTimeout(ms)}`);
  return beginText + sets.join("") + unlimitedText;
}

/**
 * Begins a transaction whose statements the server ends after `limitMs`, or sooner if the session has a shorter limit.
 */
export function beginLimited(limitMs: number): string {
  const [present, limit] = ["pg_catalog.current_setting('statement_timeout')::interval", toServerTimeout(limitMs)];
  return `${beginText}; select pg_catalog.set_config('statement_timeout', case
    when ${present} operator(pg_catalog.>) interval '0' and ${present} operator(pg_catalog.<) interval '${limit} milliseconds'
    then pg_catalog.current_setting('statement_timeout') else '${limit}ms' end, true)`;
}

/** Returns at least 1, since 0 means no limit, and no more than an int holds (PostgreSQL docs, `statement_timeout`). */
export const toServerTimeout = (timeoutMs: number): number => Math.min(Math.max(1, Math.ceil(timeoutMs)), 2 ** 31 - 1);
