import type { Worker } from "./crew";
import type { Problems } from "./problems";

type FeedName = "results" | "groups";

/** Records what the streams of all results and groups have emitted. */
export class FeedWatch {
  readonly #problems: Problems;
  readonly #seen: ReadonlyMap<string, Record<FeedName, Set<string>>>;

  /** @param watching - The workers that subscribe. */
  constructor(watching: readonly Worker[], problems: Problems) {
    this.#problems = problems;
    this.#seen = new Map(watching.map(({ name }) => [name, { results: new Set(), groups: new Set() }]));
    for (const worker of watching)
      worker.onReport((report) => {
        if (report.report === "seen") this.#see(worker.name, report.feed, report.ids);
        if (report.report === "feed ended") problems.add("feed", `${worker.name}: ${report.error}`);
      });
  }

  /** Returns true once every worker has received all of these. */
  hasShown(feed: FeedName, ids: readonly string[]): boolean {
    return [...this.#seen.values()].every((seen) => ids.every((id) => seen[feed].has(id)));
  }

  /** Called at the end, for each item that must have been emitted. */
  expect(feed: FeedName, id: string): void {
    for (const [worker, seen] of this.#seen)
      if (!seen[feed].has(id)) this.#problems.add("feed", `${worker}: ${feed} never showed ${id}`);
  }

  #see(worker: string, feed: FeedName, ids: readonly string[]): void {
    const seen = this.#seen.get(worker)?.[feed];
    for (const id of ids) {
      // A store whose answer is lost is sent again and so counts as two. A group completes once.
      if (feed === "groups" && seen?.has(id) === true)
        this.#problems.add("feed", `${worker}: ${feed} showed ${id} twice`);
      seen?.add(id);
    }
  }
}
