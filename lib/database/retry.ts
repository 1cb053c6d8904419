import { defer, firstValueFrom, merge, type Observable, retry, throwError, timer } from "rxjs";
import { DatabaseError } from "../errors";
import { backoffMs } from "./backoff";

const firstDelayMs = 50;
const longestDelayMs = 2_000;

export interface RetryOptions {
  /** When to give up, on the clock of `performance.now()`. */
  readonly dueAt: number;
  /** Errors when the backend closes; nothing is tried after that. */
  readonly closed$: Observable<never>;
  readonly onRetry?: (error: DatabaseError) => void;
}

export const isTransient = (error: unknown): error is DatabaseError =>
  error instanceof DatabaseError && error.transient;

/** Repeats `attempt` while it fails with a transient `DatabaseError` and there is time; then rejects with the last error. */
export async function retryTransient<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const attempts$ = defer(attempt).pipe(
    retry({
      delay: (error: unknown, count) => {
        const delayMs = backoffMs(count, firstDelayMs, longestDelayMs);
        if (!isTransient(error) || performance.now() + delayMs >= options.dueAt) return throwError(() => error);
        options.onRetry?.(error);
        return timer(delayMs);
      },
    }),
  );
  // Whatever is under way when the backend closes is not waited for.
  return firstValueFrom(merge(attempts$, options.closed$));
}
