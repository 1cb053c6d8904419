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
