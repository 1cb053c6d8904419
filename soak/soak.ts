import { setTimeout as sleep } from "node:timers/promises";
import type { Stats } from "kojin-postgres";
import { eventually } from "../spec/support/eventually";
import { Calls } from "./calls";
import { startCrew, type Worker } from "./crew";
import { FaultLoop } from "./fault-loop";
import { FeedWatch } from "./feed-watch";
import { GroupLoad } from "./group-load";
import { longestAfterEndMs, settleMs } from "./limits";
import type { SoakOptions } from "./options";
import { Outages } from "./outages";
import { Problems } from "./problems";
import { SeededRandom } from "./random";
import type { Findings } from "./report";
import { Screen } from "./screen";
import type { Site } from "./site";
import { TaskLoad } from "./task-load";

const tickMs = 100;
/** With more calls than this in flight, no new ones are begun. */
const mostUnderWay = 4_000;

/** One run: load and faults together, then a quiet period, then the comparison with the database. */
export class Soak {
  readonly #options: SoakOptions;
  readonly #site: Site;
  readonly #problems = new Problems();
  readonly #outages = new Outages();
  readonly #startedAt = performance.now();
  #crew: Worker[] = [];
  #calls: Calls | undefined;
  #phase = "starting its processes";

  constructor(options: SoakOptions, site: Site) {
    this.#options = options;
    this.#site = site;
  }

  /** The current phase of the run, in words. */
  get phase(): string {
    return this.#phase;
  }

  /** Rejects when `interruption` aborts. */
  async run(interruption: AbortSignal): Promise<Findings> {
    const { seed, minutes } = this.#options;
    this.#crew = await startCrew(this.#site.workers, this.#problems);
    interruption.throwIfAborted();
    const calls = (this.#calls = new Calls(this.#crew, this.#problems));
    const endsAt = performance.now() + minutes * 60_000;
    const parts = {
      site: this.#site,
      crew: this.#crew,
      calls,
      problems: this.#problems,
      outages: this.#outages,
      feeds: new FeedWatch(
        this.#crew.filter((_, index) => this.#site.workers[index]?.setup.hasFeeds),
        this.#problems,
      ),
      longestWaitMs: () => Math.max(0, Math.round(endsAt + longestAfterEndMs - performance.now())),
    };
    const tasks = new TaskLoad({ ...parts, random: new SeededRandom(`${seed} tasks`) });
    const groups = new GroupLoad({ ...parts, random: new SeededRandom(`${seed} groups`) });
    const faults = new FaultLoop(this.#site, seed, this.#outages, this.#problems);

    const over = new AbortController();
    const breaking = faults.run(AbortSignal.any([over.signal, interruption]));
    const random = new SeededRandom(`${seed} load`);
    const screen = new Screen(minutes * 60_000);
    this.#enter("breaking things");
    try {
      while (performance.now() < endsAt && !interruption.aborted) {
        if (calls.underWay < mostUnderWay) addLoad(random, tasks, groups);
        calls.findHung();
        screen.show({
          resolved: tasks.resolved,
          stored: tasks.acknowledged,
          underWay: calls.underWay,
          groups: groups.done,
          faults: faults.injected,
          problems: this.#problems.total,
        });
        await sleep(tickMs, undefined, { signal: interruption }).catch(() => undefined);
      }
    } finally {
      screen.close();
      over.abort();
      this.#enter("repairing what was broken");
      await breaking;
    }
    interruption.throwIfAborted();

    this.#enter("waiting for calls under way");
    await this.#settle(calls, () => tasks.isShown && groups.isShown, interruption);
    this.#enter("comparing with the tables");
    await tasks.verify();
    await groups.verify();
    this.#enter("closing the backends");
    const stats = await this.#dismiss();
    const { longestPastDeadlineMs } = calls;
    return { tasks, groups, faults, problems: this.#problems, stats, longestPastDeadlineMs };
  }

  /** Kills the other processes, whatever their state. */
  kill(): void {
    this.#calls?.cancelLater();
    for (const worker of this.#crew) worker.kill();
  }

  /** Begins a phase. A run that hangs is reported with the name of its phase. */
  #enter(phase: string): void {
    this.#phase = phase;
    const elapsed = `${Math.round((performance.now() - this.#startedAt) / 1_000)} s`;
    console.log(`${elapsed.padStart(6)}: ${phase}`);
  }

  /** Waits, with no more faults, until all calls have ended and the streams have caught up. */
  async #settle(calls: Calls, isShown: () => boolean, interruption: AbortSignal): Promise<void> {
    const dueAt = performance.now() + settleMs;
    const quietFrom = performance.now() + 5_000;
    while (performance.now() < dueAt) {
      if (calls.isIdle && performance.now() > quietFrom && isShown()) return;
      calls.findHung();
      await sleep(tickMs, undefined, { signal: interruption });
    }
    calls.cancelLater();
    calls.findHung(true);
  }

  /** Closes the backends, looks for leaks, and only then lets the processes end. */
  async #dismiss(): Promise<Stats[]> {
    const stats = await Promise.all(this.#crew.map(async (worker) => worker.close()));
    try {
      // The server takes a moment to notice that a client has gone.
      await eventually(async () => {
        const left = await this.#site.connections();
        if (left.length > 0) throw new Error(left.map(({ application }) => application).join(", "));
      });
    } catch (error) {
      this.#problems.add("leaked", String(error));
    }
    await Promise.all(this.#crew.map(async (worker) => worker.leave()));
    return stats.filter((each) => each !== undefined);
  }
}

function addLoad(random: SeededRandom, tasks: TaskLoad, groups: GroupLoad): void {
  // Sometimes many at once, as a batch job would.
  const count = random.chance(0.02) ? 150 : random.between(4, 10);
  for (let index = 0; index < count; index += 1) tasks.add();
  if (random.chance(0.3)) groups.add();
}
