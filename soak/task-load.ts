import { TaskFailedError, type TaskFailure } from "kojin-postgres";
import type { Calls } from "./calls";
import type { Worker } from "./crew";
import type { FeedWatch } from "./feed-watch";
import { LateWaits, type Outages } from "./outages";
import type { Problems } from "./problems";
import type { Ended } from "./protocol";
import type { SeededRandom } from "./random";
import type { Site } from "./site";
import { differenceOf, taskIdOf } from "./tasks";

interface Task {
  /** When its store was acknowledged. */
  storedAt: number | undefined;
}

export interface LoadParts {
  readonly site: Site;
  readonly crew: readonly Worker[];
  readonly calls: Calls;
  readonly problems: Problems;
  readonly outages: Outages;
  readonly feeds: FeedWatch;
  readonly random: SeededRandom;
  /** Milliseconds left for a wait that begins now. */
  readonly longestWaitMs: () => number;
}

/** Load on tasks: one worker stores, others wait, before or after the store. Some tasks are never stored. */
export class TaskLoad {
  readonly #parts: LoadParts;
  readonly #tasks = new Map<string, Task>();
  readonly #late = new LateWaits();
  /** Number of rejected stores by error. */
  readonly rejections = new Map<string, number>();
  acknowledged = 0;
  resolved = 0;

  constructor(parts: LoadParts) {
    this.#parts = parts;
  }

  get timeouts(): number {
    return this.#late.count;
  }

  get rejected(): number {
    return [...this.rejections.values()].reduce((sum, count) => sum + count, 0);
  }

  add(): void {
    const { random, crew, calls } = this.#parts;
    const taskId = taskIdOf(`task ${this.#tasks.size + 1}`, random.chance(0.08));
    const task: Task = { storedAt: undefined };
    this.#tasks.set(taskId, task);
    const isStored = !random.chance(0.03);
    const storing = random.pick(crew);
    const storeDelayMs = random.chance(0.2) ? 0 : random.between(0, 3_000);
    if (isStored) calls.later(storeDelayMs, () => this.#store(storing, taskId, task));
    for (let waits = random.between(1, 2); waits > 0; waits -= 1) {
      const waiting = random.pick(crew);
      const timeoutMs = isStored ? random.between(1_000, 20_000) : random.between(0, 3_000);
      const waitDelayMs = random.chance(0.75) ? 0 : random.between(0, 3_000);
      calls.later(waitDelayMs, () => this.#wait(waiting, taskId, timeoutMs));
    }
  }

  /** True once the streams have emitted every acknowledged result. */
  get isShown(): boolean {
    return this.#parts.feeds.hasShown("results", this.#acknowledgedIds());
  }

  /** Compares everything with the table, once all calls have ended. */
  async verify(): Promise<void> {
    const { site, problems, outages, feeds } = this.#parts;
    this.#late.verify((taskId) => this.#tasks.get(taskId)?.storedAt, outages, problems);
    const missing = new Set(this.#acknowledgedIds());
    for (const taskId of missing) feeds.expect("results", taskId);
    const rows = await site.administer(async (client) => {
      const text = `select task_id, result, error from ${client.escapeIdentifier(site.schema)}.kojin_results`;
      return (await client.query<{ task_id: string; result: unknown; error: TaskFailure | null }>(text)).rows;
    }, 15_000);
    for (const { task_id: taskId, result, error } of rows) {
      missing.delete(taskId);
      if (!this.#tasks.has(taskId)) problems.add("invented", taskId);
      const difference = differenceOf(taskId, toSettled(taskId, result, error));
      if (difference !== undefined) problems.add("different", `${taskId}: ${difference}`);
    }
    for (const taskId of missing) problems.add("lost", taskId);
  }

  #acknowledgedIds(): string[] {
    return [...this.#tasks].filter(([, { storedAt }]) => storedAt !== undefined).map(([taskId]) => taskId);
  }

  #store(worker: Worker, taskId: string, task: Task): void {
    this.#parts.calls.issue(worker, { what: "store", taskId }, ({ outcome, endedAt, detail }) => {
      if (outcome === "done") {
        task.storedAt = endedAt;
        this.acknowledged += 1;
      } else {
        // The store may or may not have taken effect.
        const error = detail.replace(taskId, "…");
        this.rejections.set(error, (this.rejections.get(error) ?? 0) + 1);
      }
    });
  }

  #wait(worker: Worker, taskId: string, wantedMs: number): void {
    const { calls, problems, longestWaitMs } = this.#parts;
    const timeoutMs = Math.min(wantedMs, longestWaitMs());
    const onEnded = ({ outcome, startedAt, detail }: Ended): void => {
      if (outcome === "done") this.resolved += 1;
      if (outcome === "timeout") this.#late.add({ worker: worker.name, id: taskId, deadline: startedAt + timeoutMs });
      if (outcome === "failed") problems.add("wrong error", `${worker.name}: wait ${taskId}: ${detail}`);
    };
    calls.issue(worker, { what: "wait", taskId, timeoutMs }, onEnded);
  }
}

function toSettled(taskId: string, result: unknown, error: TaskFailure | null): PromiseSettledResult<unknown> {
  if (error === null) return { status: "fulfilled", value: result };
  return { status: "rejected", reason: new TaskFailedError(taskId, error) };
}
