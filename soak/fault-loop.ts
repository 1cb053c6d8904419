import { setTimeout as sleep } from "node:timers/promises";
import { connectionFaults } from "./connection-faults";
import { databaseFaults, type Fault } from "./faults";
import type { Outages } from "./outages";
import type { Problems } from "./problems";
import { now } from "./protocol";
import { SeededRandom } from "./random";
import type { Site } from "./site";

const [shortestPauseMs, longestPauseMs] = [100, 500];
const [earliestRestartMs, latestRestartMs] = [10_000, 20_000];

interface FaultCount {
  injected: number;
  /** Faults that found nothing to break, or that the server was too busy to take in time. */
  missed: number;
}

/** Injects faults one after the other until it is told to stop. */
export class FaultLoop {
  readonly counts = new Map<string, FaultCount>();
  readonly #site: Site;
  readonly #outages: Outages;
  readonly #problems: Problems;
  readonly #faults: readonly Fault[];
  readonly #random: SeededRandom;
  readonly #restartRandom: SeededRandom;
  readonly #underWay = new Set<Promise<void>>();

  constructor(site: Site, seed: string, outages: Outages, problems: Problems) {
    this.#site = site;
    this.#outages = outages;
    this.#problems = problems;
    this.#faults = [...databaseFaults, ...connectionFaults(outages)];
    this.#random = new SeededRandom(`${seed} faults`);
    this.#restartRandom = new SeededRandom(`${seed} restarts`);
  }

  get injected(): number {
    return [...this.counts.values()].reduce((sum, { injected }) => sum + injected, 0);
  }

  /** Resolves when `signal` has aborted and everything is repaired. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#breakThings(signal), this.#restart(signal)]);
    await Promise.all(this.#underWay);
  }

  async #breakThings(signal: AbortSignal): Promise<void> {
    while (await pause(this.#random.between(shortestPauseMs, longestPauseMs), signal)) {
      const fault = this.#draw();
      const inject = fault.plan(this.#random);
      const done = inject(this.#site)
        .then((injected) => this.#count(fault.name, injected === "injected"))
        .catch(() => this.#count(fault.name, false))
        .finally(() => this.#underWay.delete(done));
      this.#underWay.add(done);
    }
  }

  async #restart(signal: AbortSignal): Promise<void> {
    const random = this.#restartRandom;
    while (await pause(random.between(earliestRestartMs, latestRestartMs), signal)) {
      const how = random.pick(["fast", "immediate", "kill -9"] as const);
      const downMs = random.between(0, 1_000);
      const from = now();
      try {
        await this.#site.server.stop(how);
        await sleep(downMs);
        await this.#site.server.start();
        this.#count(`server restarted: ${how}`, true);
      } catch (error) {
        this.#problems.add("the run itself", `the server could not be restarted (${how}): ${String(error)}`);
        return;
      } finally {
        this.#outages.add(undefined, from, now());
      }
    }
  }

  #draw(): Fault {
    const total = this.#faults.reduce((sum, { weight }) => sum + weight, 0);
    let left = this.#random.next() * total;
    for (const fault of this.#faults) {
      left -= fault.weight;
      if (left < 0) return fault;
    }
    throw new Error("expected the weights to add up");
  }

  #count(name: string, wasInjected: boolean): void {
    const count = this.counts.get(name) ?? { injected: 0, missed: 0 };
    if (wasInjected) count.injected += 1;
    else count.missed += 1;
    this.counts.set(name, count);
  }
}

/** Returns false once `signal` has aborted. */
async function pause(durationMs: number, signal: AbortSignal): Promise<boolean> {
  return sleep(durationMs, undefined, { signal }).then(
    () => true,
    () => false,
  );
}
