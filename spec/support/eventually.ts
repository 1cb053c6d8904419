import { setTimeout as sleep } from "node:timers/promises";

/** The time limit and the interval of the attempts. */
export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/** Runs `assertion` repeatedly until it no longer throws. After `timeoutMs` it throws the error of the last run. */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  { timeoutMs = 15_000, intervalMs = 20 }: EventuallyOptions = {},
): Promise<T> {
  const endsAt = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await assertion();
    } catch (error) {
      if (performance.now() >= endsAt) throw error;
    }
    await sleep(intervalMs);
  }
}
