import { setTimeout as sleep } from "node:timers/promises";

// Less than the default sweep interval of 30 s, so that a lost notification fails the spec.
const limitMs = 15_000;
const intervalMs = 10;

/** Runs `check` repeatedly until it no longer throws. At the end it throws the error of the last run. */
export async function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  const endsAt = performance.now() + limitMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() >= endsAt) throw error;
    }
    await sleep(intervalMs);
  }
}
