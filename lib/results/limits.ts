import { longestAttemptMs } from "../database/retry";
import type { ResolvedOptions } from "../options";

/**
 * Most rows, and most bytes of JSON, that wait for a statement to take them. Further ones wait outside, within their
 * own time.
 */
export const maxQueuedRows = 100_000;
export const maxQueuedBytes = 128 * 1024 * 1024;
/**
 * What was stored after a call of this age at most may be replaced by its first attempt, which costs nothing to check.
 */
export const youngCallMs = 500;
/** Delays between the attempts for a row. */
export const firstDelayMs = 50;
export const longestDelayMs = 2_000;
/** Longest wait of one statement for the locks of its rows, all together. */
export const lockBudgetMs = 1_000;
/** Shortest of its waits for one lock: a transaction that only stores is over by then. */
export const shortestLockWaitMs = 10;
/** Longest time for a statement that only notifies, and of its wait for the notification lock. */
export const announceTimeoutMs = 5_000;
export const notifyLockTimeoutMs = 2_000;

/**
 * Longest time for one attempt: half of the retry time, so that a dead connection leaves time for another, and never so
 * long that an int of the server cannot hold it.
 */
export const attemptTimeoutMs = ({ retryTimeoutMs }: ResolvedOptions): number =>
  Math.min(retryTimeoutMs / 2, longestAttemptMs);

/** Long enough for any usual lock; short enough to be over before the client gives an attempt up. */
export const writeLockTimeoutMs = (options: ResolvedOptions): number => attemptTimeoutMs(options) / 2;

/**
 * Of the first statement for rows, which holds up all of them: a row that is locked for longer is waited for besides.
 */
export const rowLockTimeoutMs = (options: ResolvedOptions): number => Math.min(1_000, writeLockTimeoutMs(options));
