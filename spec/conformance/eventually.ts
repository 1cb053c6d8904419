import { setTimeout as sleep } from "node:timers/promises";

// A notification that is lost is made up for by a sweep, 30 s later at the most by default; a backend that needs it here has a fault, which is to show.
const limitMs = 15_000;
const intervalMs = 10;

/** Runs `check` again and again until it no longer throws; in the end it throws what the last run threw. */
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
