import { lateAfterMs } from "./limits";
import type { Outages } from "./outages";
import type { Problems } from "./problems";

interface TimedOutWait {
  readonly worker: string;
  /** The id of the task or group. */
  readonly id: string;
  readonly deadline: number;
}

/** Collects the waits that timed out and, at the end, finds those that should not have. */
export class LateWaits {
  readonly #timedOut: TimedOutWait[] = [];

  get count(): number {
    return this.#timedOut.length;
  }

  add(wait: TimedOutWait): void {
    this.#timedOut.push(wait);
  }

  /** @param thereAt - When the outcome was known to be stored; undefined if it never was. */
  verify(thereAt: (id: string) => number | undefined, outages: Outages, problems: Problems): void {
    for (const { worker, id, deadline } of this.#timedOut) {
      const since = thereAt(id) ?? Infinity;
      if (since >= deadline) continue;
      const reachableMs = outages.reachableMs(worker, since, deadline);
      if (reachableMs <= lateAfterMs) continue;
      const [total, reachable] = [Math.round(deadline - since), Math.round(reachableMs)];
      problems.add("late", `${worker}: ${id} had been there for ${total} ms, ${reachable} of them within reach`);
    }
  }
}
