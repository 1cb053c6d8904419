import { lateAfterMs } from "./limits";
import type { Problems } from "./problems";

interface Outage {
  /** The affected worker; undefined for all. */
  readonly worker: string | undefined;
  readonly from: number;
  readonly to: number;
}

/**
 * Periods in which reads cannot succeed: the server was down, or a worker's connections were dead without its
 * knowledge.
 */
export class Outages {
  readonly #outages: Outage[] = [];

  add(worker: string | undefined, from: number, to: number): void {
    this.#outages.push({ worker, from, to });
  }

  /** Milliseconds of a period during which a worker could reach the server. */
  reachableMs(worker: string, from: number, to: number): number {
    const within = this.#outages
      .filter(
        (outage) => (outage.worker === undefined || outage.worker === worker) && outage.from < to && outage.to > from,
      )
      .map((outage) => ({ from: Math.max(from, outage.from), to: Math.min(to, outage.to) }))
      .sort((a, b) => a.from - b.from);
    let reachable = 0;
    let seenTo = from;
    for (const outage of within) {
      reachable += Math.max(0, outage.from - seenTo);
      seenTo = Math.max(seenTo, outage.to);
    }
    return reachable + Math.max(0, to - seenTo);
  }
}

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

  /** @param storedAt - When the outcome was known to be stored; undefined if it never was. */
  verify(storedAt: (id: string) => number | undefined, outages: Outages, problems: Problems): void {
    for (const { worker, id, deadline } of this.#timedOut) {
      const since = storedAt(id) ?? Infinity;
      if (since >= deadline) continue;
      const reachableMs = outages.reachableMs(worker, since, deadline);
      if (reachableMs <= lateAfterMs) continue;
      const [total, reachable] = [Math.round(deadline - since), Math.round(reachableMs)];
      problems.add("late", `${worker}: ${id} had been stored for ${total} ms, ${reachable} of them within reach`);
    }
  }
}
