import { longestTimerMs } from "../value/arguments";
import { DatabaseError } from "../errors";

/**
 * Waits for what others wait for, too, and no longer than this caller may: the limit of what is under way is that of the first. Rejects with a transient error after `timeoutMs`,
 * and what is under way goes on.
 */
export async function within<T>(timeoutMs: number, shared: Promise<T>, purpose: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => {
      reject(new DatabaseError(`Could not ${purpose}: no answer within ${Math.round(timeoutMs)} ms.`, undefined, true));
    };
    const timer = setTimeout(late, Math.min(timeoutMs, longestTimerMs)).unref();
    shared.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Waits for `work`, but no longer than `limitMs`; how it ends does not matter. */
export async function settledWithin(work: Promise<unknown>, limitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, Math.min(limitMs, longestTimerMs))));
  await Promise.race([work.catch(() => undefined), tooLong]);
  clearTimeout(timer);
}
