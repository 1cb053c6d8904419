import { hasProcessorTimes, processorTimeMs } from "./clock";
import { WorkerProcess } from "./processes";
import { median, percentile, type Sample } from "./sample";
import type { TaskRange, TechniqueName, TechniqueSettings } from "./technique";
import type { StoringTasks } from "./workers/storing";
import type { WaitingTasks } from "./workers/waiting";

/** Run before the clock starts, so that connections are open and code is compiled. */
const warmUpTasks = (tasks: number): number => Math.ceil(tasks / 3);
/**
 * Drains before the first measured drain of a technique: the rate grows by a quarter from the first drain to the fifth.
 */
const warmUpDrains = { full: 4, quick: 0 } as const;
/** At the pace of the latency measurement. */
const warmUpSingles = 20;
/** Concurrent tasks before a latency is measured: code that has run only a few times is still interpreted. */
const warmUpDrain = { full: 2_000, quick: 500, lanes: 32 } as const;
/**
 * Sequential tasks before a latency is measured, the first time and later. They take another path through both sides'
 * code, and V8 needs thousands of runs to optimise it.
 */
const warmUpSequence = { first: { full: 5_000, quick: 300 }, later: { full: 500, quick: 100 } } as const;
/** Long enough for the waiting side to finish one result before the next is stored. */
const pauseMs = 3;

export interface Load {
  readonly tasks: number;
  /** Concurrent stores of each storing process. */
  readonly lanes: number;
  /** Default 1. */
  readonly storingProcesses?: number;
  readonly resultBytes?: number;
  /** Tasks behind both sides when the clock starts. Default: four drains and a third of one. */
  readonly tasksBefore?: number;
  /** Process id of the server. With it, the processor time is measured where the system shows it. */
  readonly server?: number;
}

type ProcessorTime = Pick<Sample, "clientMicros" | "serverMicros">;

/** The part of the bench that a crew needs. */
interface Site {
  size(full: number, quick: number): number;
  empty(): Promise<void>;
}

/**
 * One waiting process, and as many storing processes as a row asks for. They are reused by later rows, since starting
 * 32 processes takes longer than most rows.
 */
export class Crew implements Disposable {
  readonly #bench: Site;
  readonly #waiting = new WorkerProcess<WaitingTasks>("waiting");
  readonly #allStoring: WorkerProcess<StoringTasks>[] = [];
  /** The storing processes of the current load. */
  #storing: readonly WorkerProcess<StoringTasks>[] = [];
  #ranges = 0;
  readonly #isWarm = new Set<TechniqueName>();
  /** Techniques whose code is compiled, with the number of storing processes. */
  readonly #isDrained = new Set<string>();

  constructor(bench: Site) {
    this.#bench = bench;
  }

  /** Stores one result after the other. Gives the time from each call of `store` to the end of the wait. */
  async latency(settings: TechniqueSettings, tasks: number, resultBytes = 100): Promise<Sample> {
    return this.#with(settings, 1, async () => {
      const { full, quick, lanes } = warmUpDrain;
      await this.#drainOnce({ tasks: this.#bench.size(full, quick), lanes });
      await this.#warmUpSequence(settings);
      const range = this.#range(warmUpSingles + tasks, resultBytes);
      await this.#waiting.call("open", range);
      const [storing] = this.#storing;
      const startedAt = await storing?.call("storeOneByOne", { range, pauseMs });
      const endedAt = await this.#waiting.call("ended");
      const latenciesMs = endedAt.map((time, index) => time - (startedAt?.[index] ?? NaN)).subarray(warmUpSingles);
      return {
        value: median(latenciesMs),
        p95: percentile(latenciesMs, 0.95),
        p99: percentile(latenciesMs, 0.99),
      };
    });
  }

  /**
   * Opens waits and stores for all of them. Gives the waits resolved per second, from the first call of `store` to the
   * end of the last wait.
   */
  async drain(settings: TechniqueSettings, load: Load): Promise<Sample> {
    return this.#with(settings, load.storingProcesses, async () => {
      if (load.tasksBefore === undefined) await this.#warmUpDrains(settings, load);
      await this.#drainOnce({ ...load, tasks: load.tasksBefore ?? warmUpTasks(load.tasks) });
      return this.#drainOnce(load);
    });
  }

  /** Measures the rate of stores alone, while one wait for another task is open. */
  async storeRate(settings: TechniqueSettings, { tasks, lanes, resultBytes = 100 }: Load): Promise<Sample> {
    return this.#with(settings, 1, async () => {
      await this.#waiting.call("open", this.#range(1, resultBytes));
      await this.#storeAll(this.#range(warmUpTasks(tasks), resultBytes), lanes);
      const [startedAt, endedAt] = await this.#storeAll(this.#range(tasks, resultBytes), lanes);
      return { value: tasks / ((endedAt - startedAt) / 1_000) };
    });
  }

  /**
   * Gives the microseconds of processor time that the waiting process spends per wait, from opening to end, averaged
   * over a number of drains.
   */
  async costOfWaiting(settings: TechniqueSettings, load: Load, times: number): Promise<Sample> {
    return this.#with(settings, load.storingProcesses, async () => {
      await this.#drainOnce({ ...load, tasks: warmUpTasks(load.tasks) });
      const before = await this.#waiting.call("cpuTime");
      for (let time = 0; time < times; time += 1) await this.#drainOnce(load);
      return { value: ((await this.#waiting.call("cpuTime")) - before) / (times * load.tasks) };
    });
  }

  [Symbol.dispose](): void {
    for (const worker of [this.#waiting, ...this.#allStoring]) worker[Symbol.dispose]();
  }

  async #warmUpDrains({ technique }: TechniqueSettings, load: Load): Promise<void> {
    const side = `${technique}, ${load.storingProcesses ?? 1}`;
    if (this.#isDrained.has(side)) return;
    const times = this.#bench.size(warmUpDrains.full, warmUpDrains.quick);
    for (let time = 0; time < times; time += 1) await this.#drainOnce(load);
    this.#isDrained.add(side);
  }

  async #warmUpSequence({ technique }: TechniqueSettings): Promise<void> {
    // Polling is no faster when warm.
    if (technique === "polling") return;
    const { full, quick } = this.#isWarm.has(technique) ? warmUpSequence.later : warmUpSequence.first;
    await this.#drainOnce({ tasks: this.#bench.size(full, quick), lanes: 1 });
    this.#isWarm.add(technique);
  }

  async #drainOnce({ tasks, lanes, resultBytes = 100, server }: Load): Promise<Sample> {
    const range = this.#range(tasks, resultBytes);
    await this.#waiting.call("open", range);
    const processorTime = server === undefined || !hasProcessorTimes() ? undefined : await this.#processorTime(server);
    const [[startedAt], endedAt] = await Promise.all([this.#storeAll(range, lanes), this.#waiting.call("ended")]);
    const lastEndedAt = endedAt.reduce((latest, time) => Math.max(latest, time), 0);
    const value = tasks / ((lastEndedAt - startedAt) / 1_000);
    return processorTime === undefined ? { value } : { value, ...(await processorTime(tasks)) };
  }

  /** Begins to measure processor time. Gives a function that returns it for each of a number of tasks. */
  async #processorTime(server: number): Promise<(tasks: number) => Promise<ProcessorTime>> {
    const workers = [this.#waiting, ...this.#storing];
    const read = async (): Promise<[clients: number, server: number]> => {
      const times = await Promise.all(workers.map(async (worker) => worker.call("cpuTime")));
      return [times.reduce((sum, time) => sum + time, 0), processorTimeMs(server) * 1_000];
    };
    const before = await read();
    return async (tasks) => {
      const after = await read();
      return { clientMicros: (after[0] - before[0]) / tasks, serverMicros: (after[1] - before[1]) / tasks };
    };
  }

  /** Divides a range of tasks among the storing processes. */
  async #storeAll(range: TaskRange, lanes: number): Promise<[startedAt: number, endedAt: number]> {
    const share = Math.ceil(range.count / this.#storing.length);
    const times = await Promise.all(
      this.#storing.map(async (worker, index) => {
        const first = index * share;
        const count = Math.max(0, Math.min(share, range.count - first));
        return worker.call("storeAll", { range: { ...range, first, count }, lanes });
      }),
    );
    return [Math.min(...times.map(([startedAt]) => startedAt)), Math.max(...times.map(([, endedAt]) => endedAt))];
  }

  /**
   * Connects all processes for the duration of `work` only: every notification wakes an idle listener, which would slow
   * down the others.
   */
  async #with<T>(settings: TechniqueSettings, storingProcesses = 1, work: () => Promise<T>): Promise<T> {
    await this.#bench.empty();
    while (this.#allStoring.length < storingProcesses) this.#allStoring.push(new WorkerProcess("storing"));
    this.#storing = this.#allStoring.slice(0, storingProcesses);
    const workers = [this.#waiting, ...this.#storing];
    await Promise.all(workers.map(async (worker) => worker.call("connect", settings)));
    try {
      return await work();
    } finally {
      await Promise.all(workers.map(async (worker) => worker.call("close")));
    }
  }

  #range(count: number, resultBytes: number): TaskRange {
    this.#ranges += 1;
    return { prefix: `${process.pid}-${this.#ranges}`, first: 0, count, resultBytes };
  }
}
