import { defer, firstValueFrom, merge, type Observable, retry, throwError, timer } from "rxjs";
import { DatabaseError } from "../errors";
import { backoffMs } from "./backoff";

const firstDelayMs = 50;
const longestDelayMs = 2_000;
/** Longest time for one attempt where there is much time: a connection that is dead without notice must not hold it for days. */
export const longestAttemptMs = 300_000;

export interface RetryOptions {
  /** When to give up, on the clock of `performance.now()`. */
  readonly dueAt: number;
  /** Longest time for one attempt, in milliseconds. Default: half of what there is, so that a connection that is dead without anybody knowing leaves time for another. */
  readonly attemptMs?: number;
  /** Errors when the backend closes; nothing is tried after that. */
  readonly closed$: Observable<never>;
  readonly onRetry?: (error: DatabaseError) => void;
  /** Whether to try again after an error. Default: after a transient one. */
  readonly isPassing?: (error: unknown) => error is DatabaseError;
}

export const isTransient = (error: unknown): error is DatabaseError =>
  error instanceof DatabaseError && error.transient;

/**
 * Repeats `attempt` while it fails with an error that may pass and there is time; then rejects with the last error. Each attempt is told how long it may take, in
 * milliseconds. For work that nobody waits for by itself: what is under way when the backend closes goes on to its own end, and nothing follows it.
 */
export function retryTransient<T>(attempt: (attemptMs: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const longestMs = Math.min(options.attemptMs ?? (options.dueAt - performance.now()) / 2, longestAttemptMs);
  const attemptMs = (): number => Math.max(1, Math.min(longestMs, options.dueAt - performance.now()));
  // Nearly every first attempt is the last one: the machinery for more is made when it is needed.
  return attempt(attemptMs()).catch(async (error: unknown) => {
    if (!(options.isPassing ?? isTransient)(error)) throw error;
    return firstValueFrom(
      merge(
        furtherAttempts(error, async () => attempt(attemptMs()), options),
        options.closed$,
      ),
    );
  });
}

/** The same for callers that wait for it: when the backend closes they hear of it, whatever is under way. */
export async function retryUntilClosed<T>(
  attempt: (attemptMs: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const subscription = options.closed$.subscribe({ error: reject });
    retryTransient(attempt, options)
      .then(resolve, reject)
      .finally(() => subscription.unsubscribe());
  });
}

/** The attempts after the first, which failed with `firstError`. */
function furtherAttempts<T>(firstError: unknown, attempt: () => Promise<T>, options: RetryOptions): Observable<T> {
  let failed = true;
  const isPassing = options.isPassing ?? isTransient;
  return defer(async () => {
    if (!failed) return attempt();
    failed = false;
    throw firstError;
  }).pipe(
    retry({
      delay: (error: unknown, count) => {
        const delayMs = backoffMs(count, firstDelayMs, longestDelayMs);
        if (!isPassing(error) || performance.now() + delayMs >= options.dueAt) return throwError(() => error);
        options.onRetry?.(error);
        return timer(delayMs);
      },
    }),
  );
}
