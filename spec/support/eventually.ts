import { setTimeout as sleep } from "node:timers/promises";

/** How long to go on trying, and how often. */
export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/** Runs `assertion` again and again until it no longer throws; after `timeoutMs` it throws what the last run threw. */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  { timeoutMs = 5000, intervalMs = 20 }: EventuallyOptions = {},
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
