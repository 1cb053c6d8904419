import { DatabaseError } from "../errors";
import { pause, unlessAborted } from "./race";
import { sqlStates } from "./sql-states";

const firstDelayMs = 50;
const longestDelayMs = 2_000;

/** Longest time for one attempt, so that a dead connection does not block a call with a long limit for days. */
export const longestAttemptMs = 300_000;

export interface RetryOptions {
  /** Time at which to give up, on the clock of `performance.now()`. */
  readonly dueAt: number;
  /**
   * Longest time for one attempt. Default: half of the time left, so that a dead connection leaves time for another.
   */
  readonly attemptMs?: number;
  /** Nothing is attempted once one of these has aborted; the call then rejects with its reason. */
  readonly signals: readonly AbortSignal[];
  readonly onRetry?: (error: DatabaseError) => void;
  /** Tells whether to try again after an error. Default: {@link isTransient}. */
  readonly isPassing?: (error: unknown) => error is DatabaseError;
}

export const isTransient = (error: unknown): error is DatabaseError =>
  error instanceof DatabaseError && error.transient;

/** Tells whether the server refused a statement that arrived after its client had given up. */
export const isLate = (error: unknown): error is DatabaseError =>
  error instanceof DatabaseError && error.sqlState === sqlStates.lateStatement;

/**
 * Returns the error of two attempts that should be reported. That a later attempt was late does not explain the
 * failure.
 */
export const toReport = <T>(error: T, before: DatabaseError | undefined): T | DatabaseError =>
  isLate(error) && before !== undefined ? before : error;

/**
 * Repeats `attempt` while it fails with a transient error and there is time, and then rejects with the last error that
 * explains the failure. `attempt` receives its own time limit. A running attempt is not interrupted when a signal
 * aborts.
 */
export async function retryTransient<T>(
  attempt: (attemptMs: number) => Promise<T>,
  { dueAt, signals, onRetry, isPassing = isTransient, ...options }: RetryOptions,
): Promise<T> {
  const longestMs = Math.min(options.attemptMs ?? (dueAt - performance.now()) / 2, longestAttemptMs);
  let lastError: DatabaseError | undefined;
  for (let retry = 1; ; retry += 1) {
    const startedAt = performance.now();
    const limitMs = Math.max(1, Math.min(longestMs, dueAt - startedAt));
    try {
      return await attempt(limitMs);
    } catch (error) {
      const delayMs = backoffMs(retry, firstDelayMs, longestDelayMs);
      // The last attempt gets what is left of the time. That this was too short does not explain the failure either.
      const ranOut = limitMs < longestMs && performance.now() - startedAt >= limitMs;
      const reported = ranOut && isPassing(error) ? (lastError ?? error) : toReport(error, lastError);
      if (!isPassing(error) || performance.now() + delayMs >= dueAt) throw reported;
      lastError = toReport(error, lastError);
      onRetry?.(error);
      await pause(delayMs, signals);
    }
  }
}

/** Does the same as {@link retryTransient}, but rejects as soon as a signal aborts, even during an attempt. */
export async function retryUntilAborted<T>(
  attempt: (attemptMs: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  return unlessAborted(retryTransient(attempt, options), options.signals);
}

/**
 * Returns the delay before attempt `attempt` (1 is the first retry). It doubles from `baseMs` up to `capMs`, minus up
 * to half at random, so that processes that lost the same server do not reconnect at the same moment.
 */
export function backoffMs(attempt: number, baseMs: number, capMs: number, random: () => number = Math.random): number {
  return Math.min(capMs, baseMs * 2 ** Math.min(attempt - 1, 30)) * (0.5 + random() / 2);
}
