import { WorkerProcess } from "./processes";
import { processorTimeMs } from "./processor-time";
import type { Sample } from "./sample";
import { median, percentile } from "./statistics";
import type { TaskRange, TechniqueName, TechniqueSettings } from "./technique";
import type { StoringTasks } from "./workers/storing";
import type { WaitingTasks } from "./workers/waiting";

/** Before the clock starts: connections are made and code is compiled. */
const warmUpTasks = (tasks: number): number => Math.ceil(tasks / 3);
/** Full drains before a technique is drained for the first time: rates grow by a quarter from the first one to the fifth. */
const warmUpDrains = { full: 4, quick: 1 } as const;
/** In the rhythm in which the latencies are taken. */
const warmUpSingles = 20;
/** As many at once before a latency is taken: code that has run a few times only is interpreted, and processes that work are not new. */
const warmUpDrain: Load = { tasks: 2_000, lanes: 32 };
/**
 * The same one after the other, which is another way through the code of both sides, when a technique is measured for the first time and later: it takes thousands until the part in
 * this language is compiled for good, and a process has that behind it after a minute of work.
 */
const warmUpSequence = { first: { full: 5_000, quick: 300 }, later: { full: 500, quick: 100 } } as const;
/** Long enough for the waiting side to be through with one before the next is stored. */
const pauseMs = 3;

export interface Load {
  readonly tasks: number;
  /** Stores under way at once, in each storing process. */
  readonly lanes: number;
  /** Default 1. */
  readonly storingProcesses?: number;
  readonly resultBytes?: number;
  /** Process id of a server of which to count the processor time. */
  readonly server?: number;
}

export interface Drained extends Sample {
  readonly tasks: number;
  /** Milliseconds of processor time, by the storing and the waiting processes together. */
  readonly clientCpuMs: number;
  /** The same of the server. */
  readonly serverCpuMs: number;
}

/** What a crew needs of the bench that it works for. */
interface Site {
  size(full: number, quick: number): number;
  empty(): Promise<void>;
}

/**
 * One process that waits, and as many that store as a row asks for. They stay for the rows after it: to start 32 processes takes longer than most rows.
 */
export class Crew implements Disposable {
  readonly #bench: Site;
  readonly #waiting = new WorkerProcess<WaitingTasks>("waiting");
  readonly #allStoring: WorkerProcess<StoringTasks>[] = [];
  /** Those of the present load. */
  #storing: readonly WorkerProcess<StoringTasks>[] = [];
  #ranges = 0;
  readonly #isWarm = new Set<TechniqueName>();
  readonly #isDrained = new Set<TechniqueName>();

  constructor(bench: Site) {
    this.#bench = bench;
  }

  /** One result after the other; gives what lies between the call of `store` and the end of the wait. */
  async latency(settings: TechniqueSettings, tasks: number, resultBytes = 100): Promise<Sample> {
    return this.#with(settings, 1, async () => {
      await this.#drainOnce(warmUpDrain);
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

  /** Opens waits and stores for all of them; gives how many ended in a second, from the first call of `store` to the end of the last wait. */
  async drain(settings: TechniqueSettings, load: Load): Promise<Drained> {
    return this.#with(settings, load.storingProcesses, async () => {
      await this.#warmUpDrains(settings, load);
      await this.#drainOnce({ ...load, tasks: warmUpTasks(load.tasks) });
      return this.#drainOnce(load);
    });
  }

  /** The rate of the stores alone, while one wait for another task is open. */
  async storeRate(settings: TechniqueSettings, { tasks, lanes, resultBytes = 100 }: Load): Promise<Sample> {
    return this.#with(settings, 1, async () => {
      await this.#waiting.call("open", this.#range(1, resultBytes));
      await this.#storeAll(this.#range(warmUpTasks(tasks), resultBytes), lanes);
      const [startedAt, endedAt] = await this.#storeAll(this.#range(tasks, resultBytes), lanes);
      return { value: tasks / ((endedAt - startedAt) / 1_000) };
    });
  }

  /** Microseconds of processor time of the waiting process for each wait, from its opening to its end; over so many drains. */
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
    if (this.#isDrained.has(technique)) return;
    const times = this.#bench.size(warmUpDrains.full, warmUpDrains.quick);
    for (let time = 0; time < times; time += 1) await this.#drainOnce(load);
    this.#isDrained.add(technique);
  }

  async #warmUpSequence({ technique }: TechniqueSettings): Promise<void> {
    // What polls is as slow when warm.
    if (technique === "polling") return;
    const { full, quick } = this.#isWarm.has(technique) ? warmUpSequence.later : warmUpSequence.first;
    await this.#drainOnce({ tasks: this.#bench.size(full, quick), lanes: 1 });
    this.#isWarm.add(technique);
  }

  async #drainOnce({ tasks, lanes, resultBytes = 100, server }: Load): Promise<Drained> {
    const range = this.#range(tasks, resultBytes);
    await this.#waiting.call("open", range);
    const cpuBefore = await this.#cpuTime();
    const serverBefore = server === undefined ? NaN : processorTimeMs(server);
    const [[startedAt], endedAt] = await Promise.all([this.#storeAll(range, lanes), this.#waiting.call("ended")]);
    const serverCpuMs = server === undefined ? NaN : processorTimeMs(server) - serverBefore;
    const lastEndedAt = endedAt.reduce((latest, time) => Math.max(latest, time), 0);
    return {
      value: tasks / ((lastEndedAt - startedAt) / 1_000),
      tasks,
      clientCpuMs: ((await this.#cpuTime()) - cpuBefore) / 1_000,
      serverCpuMs,
    };
  }

  /** Shares a range out among the storing processes. */
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

  /** Connects all for the time of `work` only: an idle listener is woken by every notification, and would slow the others down. */
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

  async #cpuTime(): Promise<number> {
    const workers = [this.#waiting, ...this.#storing];
    const times = await Promise.all(workers.map(async (worker) => worker.call("cpuTime")));
    return times.reduce((sum, time) => sum + time, 0);
  }

  #range(count: number, resultBytes: number): TaskRange {
    this.#ranges += 1;
    return { prefix: `${process.pid}-${this.#ranges}`, first: 0, count, resultBytes };
  }
}
