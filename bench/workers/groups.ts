// A process that completes the members of groups, or waits for groups.

import { PostgresResultBackend } from "kojin-postgres";
import { Client, Pool } from "pg";
import { now } from "../clock";
import { serve } from "../processes";
import { resultOf, taskIds } from "../technique";

const result = resultOf(100);
/** Half of the lanes, since two statements are in flight. */
const batchMembers = 128;

export interface GroupLoad {
  readonly groupId: string;
  readonly members: number;
  /** Concurrent completions. */
  readonly lanes: number;
}

let backend: PostgresResultBackend | undefined;
let waiting: Promise<number> | undefined;

const tasks = {
  connect: async (url: string): Promise<void> => {
    backend = await PostgresResultBackend.connect(url);
  },

  init: async ({ groupId, members }: GroupLoad): Promise<void> => backend?.initGroup(groupId, members),

  /** Creates a group and begins to wait for it. */
  open: async ({ groupId, members }: GroupLoad): Promise<void> => {
    await backend?.initGroup(groupId, members);
    await backend?.ready();
    waiting = backend?.waitGroup(groupId, Infinity).then(now);
    // The wait's own read left before this one, so it has been answered by then.
    await backend?.getGroup(groupId);
  },

  /** When the wait had all results in hand. */
  ended: async (): Promise<number> => waiting ?? NaN,

  /** Completes all members. Gives the time at which the first was begun. */
  complete: async (load: GroupLoad): Promise<number> => {
    const startedAt = now();
    await inLanes(load, async (taskId) => backend?.completeGroupMember(load.groupId, taskId, result));
    return startedAt;
  },

  /** Does the same as the Rust crate: two statements per member. Gives the milliseconds it took. */
  completeByCount: async ({ url, load }: { url: string; load: GroupLoad }): Promise<number> => {
    const pool = new Pool({ connectionString: url, max: load.lanes });
    await Promise.all(Array.from({ length: load.lanes }, async () => pool.query("select pg_sleep(0.05)")));
    const startedAt = now();
    await inLanes(load, async (taskId) => {
      await pool.query(
        `insert into bench_rust.kojin_groups (group_id, task_id, result, completed) values ($1, $2, $3, true)
         on conflict (group_id, task_id) do update set result = excluded.result, completed = true`,
        [load.groupId, taskId, JSON.stringify(result)],
      );
      await pool.query(
        "select count(*) from bench_rust.kojin_groups where group_id = $1 and completed = true and result is not null",
        [load.groupId],
      );
    });
    const durationMs = now() - startedAt;
    await pool.end();
    return durationMs;
  },

  /** The least work that counts members: a plain upsert of a batch, and one row with the number. */
  completeByCounter: async ({ url, loads }: { url: string; loads: readonly GroupLoad[] }): Promise<void> => {
    const client = new Client({ connectionString: url });
    await client.connect();
    const json = JSON.stringify(result);
    for (const { groupId, members } of loads) {
      await client.query("insert into bench_rust.counters values ($1, 0)", [groupId]);
      const ids = taskIds({ prefix: "member", first: 0, count: members, resultBytes: 0 });
      for (let first = 0; first < ids.length; first += batchMembers) {
        const batch = ids.slice(first, first + batchMembers);
        await client.query({
          name: "upsert and count",
          text: `
            with written as (
              insert into bench_rust.kojin_groups (group_id, task_id, result, completed)
              select $1::text, task_id, result::jsonb, true from unnest($2::text[], $3::text[]) as batch (task_id, result)
              on conflict (group_id, task_id) do update set result = excluded.result, completed = true
            )
            update bench_rust.counters set completed = completed + cardinality($2) where group_id = $1
            returning completed`,
          values: [groupId, batch, batch.map(() => json)],
        });
      }
    }
    await client.end();
  },

  close: async (): Promise<void> => backend?.close(),
};

async function inLanes(load: GroupLoad, complete: (taskId: string) => Promise<unknown>): Promise<void> {
  const ids = taskIds({ prefix: "member", first: 0, count: load.members, resultBytes: 0 });
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let taskId = ids[next++]; taskId !== undefined; taskId = ids[next++]) await complete(taskId);
  };
  await Promise.all(Array.from({ length: load.lanes }, lane));
}

export type GroupsTasks = typeof tasks;
serve(tasks);
