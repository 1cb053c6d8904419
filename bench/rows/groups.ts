import type { Bench } from "../bench";
import { hasProcessorTimes, processorTimeMs } from "../clock";
import { WorkerProcess } from "../processes";
import { upsertAndCount, upsertAndCounter } from "../references";
import type { Contest, Row } from "../row";
import { NotMeasured, type Sample } from "../sample";
import type { GroupLoad, GroupsTasks } from "../workers/groups";

const lanes = 256;
/** The pool size of the Rust crate. */
const rustLanes = 10;

/** Time per member, from the first call to all results in hand, of a large group and a smaller one. */
const groupSize: Row = {
  name: "group of 1 000 000, time per member until waitGroup ends",
  reference: {
    name: "group of 10 000",
    description: "The library with groups of 10 000 members, one after the other.",
    code: ["bench/rows/groups.ts", "groupSize"],
  },
  unit: "µs",
  target: { of: "ratio", atMost: 1.3 },
  prepare: (bench) =>
    withGroups(bench, (crew) => ({
      ours: async () => perMember(await crew.complete(bench.size(1_000_000, 20_000), 1)),
      reference: async () => perMember(await crew.complete(10_000, bench.size(10, 1))),
    })),
};

/** Members per second: batches counted by triggers against an upsert and a count for each member. */
const groupAgainstCount: Row = {
  name: "group of 10 000, until waitGroup ends",
  reference: upsertAndCount,
  unit: "/s",
  target: { of: "ratio", atLeast: 40 },
  prepare: (bench) =>
    withGroups(bench, (crew) => ({
      ours: async () => ({ value: 1_000 / (await crew.complete(10_000, 1)) }),
      // A quick run measures the middle of the group, where a count takes as long as it does on average.
      reference: async () => ({ value: 1_000 / (await crew.completeByCount(10_000, bench.size(10_000, 500))) }),
    })),
};

/** Processor time of the server per member, while members are completed. */
const memberCost: Row = {
  name: "processor time for each group member, server",
  reference: upsertAndCounter,
  unit: "µs",
  target: { of: "ours", atMost: 9 },
  prepare: (bench) => {
    if (!hasProcessorTimes()) throw new NotMeasured("there is no /proc on this system");
    const groups = bench.size(10, 2);
    return withGroups(bench, (crew) => ({
      ours: async () => perMember(await crew.serverCost(10_000, groups)),
      reference: async () => perMember(await crew.serverCostByCounter(10_000, groups)),
    }));
  },
};

const perMember = (ms: number): Sample => ({ value: ms * 1_000 });

/** One process that waits for groups, and one that completes their members. */
class GroupCrew implements Disposable {
  readonly #bench: Bench;
  readonly #waiting = new WorkerProcess<GroupsTasks>("groups");
  readonly #completing = new WorkerProcess<GroupsTasks>("groups");
  #groups = 0;

  constructor(bench: Bench) {
    this.#bench = bench;
  }

  async connect(): Promise<void> {
    for (const worker of [this.#waiting, this.#completing]) await worker.call("connect", this.#bench.url);
    await this.#bench.postgres.sql(`
      create schema if not exists bench_rust;
      create table if not exists bench_rust.kojin_groups (
        group_id text, task_id text, result jsonb, completed boolean default false, primary key (group_id, task_id)
      );
      create table if not exists bench_rust.counters (group_id text primary key, completed int) with (fillfactor = 50)`);
    await this.complete(500, 1);
  }

  /** Completes groups one after the other. Gives milliseconds per member. */
  async complete(members: number, groups: number): Promise<number> {
    await this.#bench.empty();
    let durationMs = 0;
    for (let group = 0; group < groups; group += 1) {
      const load = this.#load(members, lanes);
      await this.#waiting.call("open", load);
      const startedAt = await this.#completing.call("complete", load);
      durationMs += (await this.#waiting.call("ended")) - startedAt;
    }
    return durationMs / (members * groups);
  }

  /** Completes `measured` members in the middle of a group. Gives milliseconds per member. */
  async completeByCount(members: number, measured: number): Promise<number> {
    const load = this.#load(measured, rustLanes);
    const before = (members - measured) / 2;
    await this.#emptyTables();
    await this.#bench.postgres.sql(`
      insert into bench_rust.kojin_groups (group_id, task_id)
      select '${load.groupId}', '${load.groupId}:placeholder:' || i from generate_series(0, ${members - 1}) as i;
      insert into bench_rust.kojin_groups (group_id, task_id, result, completed)
      select '${load.groupId}', 'earlier-' || i, '{}', true from generate_series(1, ${before}) as i`);
    return (await this.#completing.call("completeByCount", { url: this.#bench.url, load })) / measured;
  }

  /** Completes groups that nothing waits for. Gives the server's milliseconds of processor time per member. */
  async serverCost(members: number, groups: number): Promise<number> {
    await this.#bench.empty();
    const loads = Array.from({ length: groups }, () => this.#load(members, lanes));
    for (const load of loads) await this.#completing.call("init", load);
    const cost = await this.#serverTimeOf(async () => {
      for (const load of loads) await this.#completing.call("complete", load);
    });
    return cost / (members * groups);
  }

  /** Gives the server's milliseconds of processor time per member. */
  async serverCostByCounter(members: number, groups: number): Promise<number> {
    await this.#emptyTables();
    const loads = Array.from({ length: groups }, () => this.#load(members, 1));
    const cost = await this.#serverTimeOf(async () =>
      this.#completing.call("completeByCounter", { url: this.#bench.url, loads }),
    );
    return cost / (members * groups);
  }

  async close(): Promise<void> {
    for (const worker of [this.#waiting, this.#completing]) await worker.call("close");
  }

  [Symbol.dispose](): void {
    for (const worker of [this.#waiting, this.#completing]) worker[Symbol.dispose]();
  }

  #load(members: number, atOnce: number): GroupLoad {
    this.#groups += 1;
    return { groupId: `${process.pid}-${this.#groups}`, members, lanes: atOnce };
  }

  async #serverTimeOf(work: () => Promise<void>): Promise<number> {
    const { processId } = this.#bench.postgres;
    const before = processorTimeMs(processId);
    await work();
    return processorTimeMs(processId) - before;
  }

  async #emptyTables(): Promise<void> {
    await this.#bench.postgres.sql("truncate bench_rust.kojin_groups, bench_rust.counters");
  }
}

async function withGroups(
  bench: Bench,
  sides: (crew: GroupCrew) => Required<Pick<Contest, "ours" | "reference">>,
): Promise<Contest> {
  const crew = new GroupCrew(bench);
  await crew.connect();
  return {
    ...sides(crew),
    end: async () => {
      await crew.close();
      crew[Symbol.dispose]();
    },
  };
}

export const groupRows: readonly Row[] = [groupSize, groupAgainstCount, memberCost];
