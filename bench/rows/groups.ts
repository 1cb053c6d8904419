import type { Bench } from "../bench";
import { WorkerProcess } from "../processes";
import { upsertAndCount } from "../references";
import type { Contest, Row } from "../row";
import type { Sample } from "../sample";
import type { GroupLoad, GroupsTasks } from "../workers/groups";

const lanes = 256;
/** The pool size of the Rust crate. */
const rustLanes = 10;

/** Time per member, from the first call to all results in hand, of a large group and a smaller one. */
const groupSize: Row = {
  name: "group of 100 000, time per member until waitGroup ends",
  reference: {
    name: "group of 10 000",
    description: "The library with groups of 10 000 members, one after the other.",
    code: ["bench/rows/groups.ts", "groupSize"],
  },
  unit: "µs",
  target: { of: "ratio", atMost: 1.3 },
  prepare: (bench) =>
    withGroups(bench, (crew) => ({
      ours: async () => perMember(await crew.complete(bench.size(100_000, 20_000), 1)),
      reference: async () => perMember(await crew.complete(10_000, bench.size(4, 1))),
    })),
};

/** Members per second: batches counted by triggers against an upsert and a count for each member. */
const groupAgainstCount: Row = {
  name: "group of 10 000, until waitGroup ends",
  reference: upsertAndCount,
  unit: "/s",
  target: { of: "ratio", atLeast: 40 },
  prepare: async (bench) => {
    await bench.postgres.sql(`
      create schema if not exists bench_rust;
      create table if not exists bench_rust.kojin_groups (
        group_id text, task_id text, result jsonb, completed boolean default false, primary key (group_id, task_id)
      )`);
    return withGroups(bench, (crew) => ({
      ours: async () => ({ value: 1_000 / (await crew.complete(10_000, 1)) }),
      reference: async () => ({ value: 1_000 / (await crew.completeByCount(bench.size(10_000, 500))) }),
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

  /** Gives milliseconds per member. */
  async completeByCount(members: number): Promise<number> {
    const load = this.#load(members, rustLanes);
    await this.#bench.postgres.sql(`
      truncate bench_rust.kojin_groups;
      insert into bench_rust.kojin_groups (group_id, task_id)
      select '${load.groupId}', '${load.groupId}:placeholder:' || i from generate_series(0, ${members - 1}) as i`);
    return (await this.#completing.call("completeByCount", { url: this.#bench.url, load })) / members;
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

export const groupRows: readonly Row[] = [groupSize, groupAgainstCount];
