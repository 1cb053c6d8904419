import { retryUntilAborted } from "../database/retry";
import type { ServerClock } from "../database/server-clock";
import { sqlStates } from "../database/sql-states";
import type { DatabaseError } from "../errors";
import type { SchemaCheck } from "../schema/schema-check";
import { mayReachAnotherServer } from "./write-errors";
import { youngCallMs } from "./write-item";

export interface FencedWriteParts {
  readonly schemaCheck: SchemaCheck;
  readonly clock: ServerClock;
  readonly closed: AbortSignal;
}

/** The limits of one attempt. Times of the server are in seconds since 1970. */
export interface FencedAttempt {
  readonly timeoutMs: number;
  /** The server's time, or a little less, at which the client gives the attempt up: it must not write after that. */
  readonly giveUpAt: number;
  /**
   * The latest time that the server's clock can have shown when the call was made, where what was stored later has to be left alone: for a retry, or a call that has waited for long by
   * now. Else null.
   */
  readonly guardedFrom: () => number | null;
}

/** Repeats a write that travels alone while it fails with a transient error. Each attempt carries its deadline in the server's time. */
export async function fencedWrite<T>(
  { schemaCheck, clock, closed }: FencedWriteParts,
  limitMs: number,
  write: (attempt: FencedAttempt) => Promise<T>,
): Promise<T> {
  const madeAt = performance.now();
  const dueAt = madeAt + limitMs;
  let isRetry = false;
  const attempt = async (attemptMs: number): Promise<T> => {
    const endsAt = performance.now() + attemptMs;
    if (!schemaCheck.isGood) await schemaCheck.pass(attemptMs);
    if (!clock.isKnown) await clock.ready(attemptMs);
    const calledAt = clock.upper(madeAt) / 1e6;
    const isGuarded = isRetry;
    isRetry = true;
    return write({
      timeoutMs: Math.max(1, endsAt - performance.now()),
      giveUpAt: clock.lower(endsAt) / 1e6,
      guardedFrom: () => (isGuarded || performance.now() - madeAt > youngCallMs ? calledAt : null),
    });
  };
  const onRetry = (error: DatabaseError): void => {
    // A statement that came late shows a clock that is wrong, and after a lost session the next one may be with another server.
    if (mayReachAnotherServer(error) || error.sqlState === sqlStates.lateStatement) clock.invalidate();
  };
  return retryUntilAborted(attempt, { dueAt, signals: [closed], onRetry });
}
