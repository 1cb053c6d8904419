import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import {
  bufferTime,
  firstValueFrom,
  lastValueFrom,
  map,
  mergeMap,
  Subject,
  take,
  takeUntil,
  timeout,
  TimeoutError,
  toArray,
} from "rxjs";
import type { TaskOutcome } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { messageOf } from "../support/processes";
import { specDatabase } from "../support/spec-database";

describe("streams of groups", () => {
  const database = specDatabase("group streams");

  it("have no gap and no double while the listener is killed 50 times", async () => {
    const [storing, watching] = [await database.open(), await database.open()];
    await watching.ready();
    const total = 2_000;
    await storing.initGroup("killed", total);
    const seen: string[] = [];
    const streamed = lastValueFrom(watching.groupMembers$("killed").pipe(map(({ taskId }) => seen.push(taskId))));
    const progress = lastValueFrom(watching.group$("killed").pipe(toArray()));
    let completed = 0;
    for (let kill = 0; kill < 50; kill += 1) {
      await eventually(async () => expect(await database.listeners()).not.toEqual([]), { timeoutMs: 20_000 });
      await database.terminateListeners();
      const batch = Array.from({ length: total / 50 }, (_, index) => `t${completed + index}`);
      completed += batch.length;
      await Promise.all(batch.map(async (taskId) => storing.completeGroupMember("killed", taskId, 1)));
    }
    expect(await streamed).toBe(total);
    expect(new Set(seen).size).toBe(total);
    const states = await progress;
    expect(states.at(-1)).toMatchObject({ completed: total, done: true });
    expect(states.map((state) => state.completed)).toEqual(
      states.map((state) => state.completed).sort((a, b) => a - b),
    );
    expect(watching.stats().waitingGroups).toBe(0);
  });

  it("stream a group of 100 000 members, each once", async () => {
    const [storing, watching] = [await database.open(), await database.open()];
    await watching.ready();
    const total = 100_000;
    await storing.initGroup("large", total);
    let count = 0;
    let sum = 0;
    const streamed = new Promise<void>((resolve, reject) => {
      watching.groupMembers$<number>("large").subscribe({
        next: (outcome) => {
          count += 1;
          sum += outcome.status === "fulfilled" ? outcome.value : NaN;
        },
        error: reject,
        complete: resolve,
      });
    });
    for (let start = 0; start < total; start += 10_000) {
      await Promise.all(
        Array.from({ length: 10_000 }, async (_, index) =>
          storing.completeGroupMember("large", `t${start + index}`, start + index),
        ),
      );
    }
    await streamed;
    expect(count).toBe(total);
    expect(sum).toBe((total * (total - 1)) / 2);
  }, 120_000);

  it("stream 100 000 members of 1.5 KB in a process that could not hold them", async () => {
    const [total, size] = [100_000, 1_500];
    const storing = await database.open();
    await storing.initGroup("huge", total);
    const child = fork(join(__dirname, "..", "fixtures", "streams-members.ts"), ["huge"], {
      execArgv: ["--import", "tsx", "--max-old-space-size=64"],
      env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: database.schema },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    expect(await messageOf(child)).toBe("subscribed");
    const answer = messageOf(child);
    const table = `${escapeIdentifier(database.schema)}.kojin_groups`;
    for (let start = 1; start <= total; start += 4_000) {
      await database.sql(
        `insert into ${table} (group_id, task_id, result, completed)
         select 'huge', i::text, to_jsonb(repeat('x', $3::int)), true from generate_series($1::int, $2::int) as i`,
        [start, start + 3_999, size],
      );
    }
    expect(await answer).toEqual({ members: total, characters: total * size });
    child.disconnect();
    await once(child, "exit");
  }, 120_000);

  it("compose with takeUntil, timeout, bufferTime and mergeMap, and let go of everything", async () => {
    const [storing, watching] = [await database.open(), await database.open()];
    await watching.ready();
    const stop$ = new Subject<void>();
    const stopped = lastValueFrom(watching.group$("open").pipe(takeUntil(stop$)), { defaultValue: undefined });
    const late = firstValueFrom(watching.groupMembers$("open").pipe(timeout(50)));
    const completions = lastValueFrom(
      watching.groupCompletions$().pipe(
        take(3),
        mergeMap(({ groupId }) => watching.groupResults$<number>(groupId)),
        bufferTime(50),
        toArray(),
      ),
    );
    expect(watching.stats()).toMatchObject({ waitingGroups: 1, feeds: 1 });
    stop$.next();
    await stopped;
    await expect(late).rejects.toBeInstanceOf(TimeoutError);
    for (const groupId of ["x", "y", "z"]) {
      await storing.initGroup(groupId, 1);
      await storing.completeGroupMember(groupId, "t", groupId.length);
    }
    expect((await completions).flat()).toEqual([[1], [1], [1]]);
    expect(watching.stats()).toMatchObject({ waitingGroups: 0, feeds: 0 });
  });

  it("read of a group's completions what was missed while nothing was heard", async () => {
    const [storing, watching] = [await database.open(), await database.open()];
    await watching.ready();
    const seen: string[] = [];
    const subscription = watching.groupCompletions$().subscribe(({ groupId }) => seen.push(groupId));
    const expected: string[] = [];
    for (let round = 0; round < 15; round += 1) {
      await eventually(async () => expect(await database.listeners()).not.toEqual([]), { timeoutMs: 20_000 });
      await database.terminateListeners();
      const groupId = `missed ${round}`;
      expected.push(groupId);
      await storing.initGroup(groupId, 1);
      await storing.completeGroupMember(groupId, "t", 1);
    }
    await eventually(() => expect(seen).toHaveLength(expected.length), { timeoutMs: 20_000 });
    expect([...seen].sort()).toEqual(expected.sort());
    subscription.unsubscribe();
  });

  it("find members that finished while the triggers were off", async () => {
    const backend = await database.open();
    await backend.ready();
    await backend.initGroup("silent", 2);
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query("set local kojin.notify = 'off'");
    await backend.completeGroupMember("silent", "a", 1, { client });
    await client.query("commit");
    client.release();
    const outcomes: TaskOutcome<number>[] = [];
    const streamed = lastValueFrom(
      backend.groupMembers$<number>("silent").pipe(map((outcome) => outcomes.push(outcome))),
    );
    await backend.failGroupMember("silent", "b", new Error("no"));
    expect(await streamed).toBe(2);
    expect(outcomes.map(({ taskId, status }) => [taskId, status])).toEqual([
      ["a", "fulfilled"],
      ["b", "rejected"],
    ]);
  });
});
