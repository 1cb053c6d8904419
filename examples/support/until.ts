import { setTimeout as sleep } from "node:timers/promises";

/** Resolves once `isTrue` returns true. For examples that have to observe another process. */
export async function until(isTrue: () => boolean, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!isTrue()) {
    if (performance.now() > end) throw new Error(`Not within ${timeoutMs} ms: ${String(isTrue)}`);
    await sleep(5);
  }
}
