import { from, lastValueFrom, mergeMap } from "rxjs";
import { WorkerProcess } from "../processes";
import { median, percentile } from "../sample";
import type { TaskRange, TechniqueSettings } from "../technique";
import type { StoringTasks } from "../workers/storing";
import type { WaitingTasks } from "../workers/waiting";

/**
 * Processes started or connected concurrently. All at once would compete for the processors, and the last ones would
 * run into time-outs.
 */
const startedAtOnce = 8;
/** Long enough for the waiting side to finish one result before the next is stored. */
const pauseMs = 5;
const lanes = 256;

export interface Latency {
  readonly p50: number;
  readonly p99: number;
}

/**
 * One storing process and many waiting ones. They serve all set-ups, since starting them takes longer than measuring.
 */
export class Fleet implements Disposable {
  readonly #storing = new WorkerProcess<StoringTasks>("storing");
  readonly #waiting: WorkerProcess<WaitingTasks>[] = [];
  #ranges = 0;

  static async start(size: number): Promise<Fleet> {
    const fleet = new Fleet();
    while (fleet.#waiting.length < size) {
      const count = Math.min(startedAtOnce, size - fleet.#waiting.length);
      const started = Array.from({ length: count }, () => new WorkerProcess<WaitingTasks>("waiting"));
      fleet.#waiting.push(...started);
      await Promise.all(started.map(async (worker) => worker.call("cpuTime")));
    }
    return fleet;
  }

  /**
   * Connects all processes. Each waiting process holds one wait that never ends, as a process does that always has
   * something to wait for.
   */
  async connect(storing: TechniqueSettings, waiting: TechniqueSettings): Promise<void> {
    await this.#storing.call("connect", storing);
    const connectOne = async (worker: WorkerProcess<WaitingTasks>): Promise<void> => {
      await worker.call("connect", waiting);
      await worker.call("open", this.#range(1));
    };
    await lastValueFrom(from(this.#waiting).pipe(mergeMap(connectOne, startedAtOnce)));
  }

  /**
   * Opens equally many waits in each process and stores for all of them. Gives the waits resolved per second, from the
   * first call of `store` to the end of the last wait.
   */
  async drain(tasks: number): Promise<number> {
    const range = await this.#open(tasks);
    const [[startedAt], endedAt] = await Promise.all([this.#storing.call("storeAll", { range, lanes }), this.#ended()]);
    return range.count / ((Math.max(...endedAt) - startedAt) / 1_000);
  }

  /** Stores one result after the other, each awaited by another process than the last. */
  async latency(tasks: number): Promise<Latency> {
    const range = await this.#open(tasks);
    const startedAt = await this.#storing.call("storeOneByOne", { range, pauseMs });
    const endedAt = await this.#ended();
    const latenciesMs = endedAt.map((time, index) => time - (startedAt[index] ?? NaN));
    return { p50: median(latenciesMs), p99: percentile(latenciesMs, 0.99) };
  }

  async close(): Promise<void> {
    await this.#eachWaiting(async (worker) => worker.call("close"));
    await this.#storing.call("close");
  }

  [Symbol.dispose](): void {
    for (const worker of [this.#storing, ...this.#waiting]) worker[Symbol.dispose]();
  }

  /** Opens waits, at least one per process, in one process after the other. */
  async #open(tasks: number): Promise<TaskRange> {
    const range = this.#range(tasks);
    const step = this.#waiting.length;
    await this.#eachWaiting(async (worker, first) =>
      worker.call("open", { ...range, first, step, count: Math.ceil((tasks - first) / step) }),
    );
    return range;
  }

  /** When each wait ended, in the order of the tasks. */
  async #ended(): Promise<number[]> {
    const step = this.#waiting.length;
    const endedAt: number[] = [];
    await this.#eachWaiting(async (worker, first) =>
      (await worker.call("ended")).forEach((time, index) => (endedAt[first + index * step] = time)),
    );
    return endedAt;
  }

  async #eachWaiting(work: (worker: WorkerProcess<WaitingTasks>, index: number) => Promise<unknown>): Promise<void> {
    await Promise.all(this.#waiting.map(work));
  }

  #range(count: number): TaskRange {
    this.#ranges += 1;
    return { prefix: `${process.pid}-${this.#ranges}`, first: 0, count, resultBytes: 100 };
  }
}
