import { setTimeout as sleep } from "node:timers/promises";

/** Resolves once `isTrue` is; an example has no better way to look at another's state than to look again. */
export async function until(isTrue: () => boolean, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!isTrue()) {
    if (performance.now() > end) throw new Error(`Not within ${timeoutMs} ms: ${String(isTrue)}`);
    await sleep(5);
  }
}
