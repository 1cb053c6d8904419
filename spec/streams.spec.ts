import {
  bufferCount,
  firstValueFrom,
  lastValueFrom,
  mergeMap,
  from,
  Subject,
  take,
  takeUntil,
  timeout,
  TimeoutError,
  toArray,
} from "rxjs";
import { BackendClosedError, TaskFailedError, type PostgresResultBackend, type TaskOutcome } from "kojin-postgres";
import { escapeIdentifier } from "pg";
import { eventually } from "./support/eventually";
import { specDatabase } from "./support/spec-database";

describe("streams", () => {
  const database = specDatabase("streams");
  const table = `${escapeIdentifier(database.schema)}.kojin_results`;
  let storing: PostgresResultBackend;
  let watching: PostgresResultBackend;

  beforeEach(async () => {
    storing = await database.open();
    watching = await database.open();
    await watching.ready();
  });

  /** Collects what a stream emits, and how it ends. */
  function collect<T>(
    backend: PostgresResultBackend,
    where?: (taskId: string) => boolean,
  ): { seen: string[]; outcomes: TaskOutcome<T>[]; ended: Promise<unknown>; stop: () => void } {
    const outcomes: TaskOutcome<T>[] = [];
    const seen: string[] = [];
    let stop = (): void => undefined;
    const ended = new Promise<unknown>((resolve) => {
      const subscription = backend.results$<T>(where === undefined ? {} : { where }).subscribe({
        next: (outcome) => {
          outcomes.push(outcome);
          seen.push(outcome.taskId);
        },
        error: resolve,
        complete: () => resolve("completed"),
      });
      stop = () => subscription.unsubscribe();
    });
    return { seen, outcomes, ended, stop };
  }

  describe("result$", () => {
    it("emits the stored result, or the next one, and completes", async () => {
      await storing.store("there", 1);
      expect(await lastValueFrom(watching.result$("there").pipe(toArray()))).toEqual([1]);
      const later = lastValueFrom(watching.result$("later").pipe(toArray()));
      await eventually(() => expect(watching.stats().waiting).toBe(1));
      await storing.store("later", null);
      expect(await later).toEqual([null]);
      expect(watching.stats().waiting).toBe(0);
    });

    it("is cold: nothing happens before it is subscribed to, and each subscriber has its own", async () => {
      const result$ = watching.result$<number[]>("cold");
      expect(watching.stats().waiting).toBe(0);
      const both = Promise.all([firstValueFrom(result$), firstValueFrom(result$)]);
      await storing.store("cold", [1]);
      const [one, other] = await both;
      expect(one).toEqual(other);
      expect(one).not.toBe(other);
    });

    it("errors with the failure of the task", async () => {
      await storing.fail("failed", new Error("no"));
      await expect(firstValueFrom(watching.result$("failed"))).rejects.toBeInstanceOf(TaskFailedError);
    });

    it("is let go of by unsubscribing, by timeout and by takeUntil", async () => {
      const subscription = watching.result$("a").subscribe();
      const stop$ = new Subject<void>();
      const stopped = lastValueFrom(watching.result$("b").pipe(takeUntil(stop$)), { defaultValue: "stopped" });
      const late = firstValueFrom(watching.result$("c").pipe(timeout(50)));
      expect(watching.stats().waiting).toBe(3);
      subscription.unsubscribe();
      stop$.next();
      expect(await stopped).toBe("stopped");
      await expect(late).rejects.toBeInstanceOf(TimeoutError);
      expect(watching.stats().waiting).toBe(0);
    });

    it("composes: a thousand ids to their results, in bounded concurrency", async () => {
      const ids = Array.from({ length: 1_000 }, (_, index) => `id ${index}`);
      const sizes = lastValueFrom(
        from(ids).pipe(
          mergeMap((id) => watching.result$<number>(id), 100),
          bufferCount(100),
          toArray(),
        ),
      );
      await Promise.all(ids.map(async (id, index) => storing.store(id, index)));
      expect((await sizes).flat().sort((a, b) => a - b)).toEqual(ids.map((_, index) => index));
    });

    it("errors when the backend closes, and later subscribers at once", async () => {
      const error = firstValueFrom(watching.result$("never")).catch((reason: unknown) => reason);
      await eventually(() => expect(watching.stats().waiting).toBe(1));
      await watching.close();
      expect(await error).toBeInstanceOf(BackendClosedError);
      await expect(firstValueFrom(watching.result$("never"))).rejects.toBeInstanceOf(BackendClosedError);
    });
  });

  describe("results$", () => {
    it("emits every result that is stored from now on, by whomever, failures too", async () => {
      const marker = watching.wait("marker", 20_000);
      await eventually(() => expect(watching.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
      await storing.store("old", 0);
      await storing.store("marker", 0);
      // Notifications arrive in commit order, so that of the old result has arrived.
      await marker;
      // A result stored within a round trip before the subscription may count as new.
      await database.sql(
        `with off as materialized (select set_config('kojin.notify', 'off', true)) update ${table} set stored_at = now() - interval '1 minute' from off`,
      );
      const feed = collect(watching);
      await storing.store("new", { n: 1 });
      await storing.fail("bad", new Error("no"));
      await database.sql(`insert into ${table} (task_id, result) values ('foreign', '3')`);
      await eventually(() => expect(feed.seen).toHaveLength(3));
      // Two reads may be in flight, so the order is not promised.
      expect([...feed.outcomes].sort((a, b) => (a.taskId < b.taskId ? 1 : -1))).toEqual([
        { taskId: "new", status: "fulfilled", value: { n: 1 } },
        { taskId: "foreign", status: "fulfilled", value: 3 },
        { taskId: "bad", status: "rejected", reason: expect.any(TaskFailedError) as unknown },
      ]);
      feed.stop();
      expect(watching.stats().feeds).toBe(0);
    });

    it("shows a result again when it is stored again", async () => {
      const feed = collect(watching);
      for (const value of [1, 2, 2]) {
        const { length } = feed.seen;
        await storing.store("again", value);
        await eventually(() => expect(feed.seen).toHaveLength(length + 1));
      }
      feed.stop();
    });

    it("reads only what its condition lets through", async () => {
      const before = watching.stats().reads.statements;
      const feed = collect(watching, (taskId) => taskId.startsWith("mine"));
      await storing.store("theirs", 1);
      await storing.store("mine", 2);
      await eventually(() => expect(feed.seen).toEqual(["mine"]));
      const { notifications, reads } = watching.stats();
      expect(notifications.relevant).toBe(1);
      // The look with which the feed begins may find it as well.
      expect(reads.statements - before).toBeLessThanOrEqual(2);
      feed.stop();
    });

    it("ends only the subscription whose condition throws", async () => {
      const bad = collect(watching, () => {
        throw new Error("condition");
      });
      const good = collect(watching);
      await storing.store("x", 1);
      await eventually(() => expect(good.seen).toEqual(["x"]));
      expect(await bad.ended).toEqual(new Error("condition"));
      good.stop();
    });

    it("has no gap and no double over 20 lost connections", async () => {
      const feed = collect<number>(watching);
      await storing.store("first", -1);
      await eventually(() => expect(feed.seen).toEqual(["first"]));
      const done = new AbortController();
      const killing = (async () => {
        for (let kill = 0; kill < 20; kill += 1) {
          await eventually(async () => expect(await database.listeners()).toHaveLength(1), { timeoutMs: 20_000 });
          await database.terminateListeners();
        }
        done.abort();
      })();
      const expected = ["first"];
      for (let index = 0; !done.signal.aborted; index += 1) {
        expected.push(`t${index}`);
        await storing.store(`t${index}`, index);
      }
      await killing;
      await eventually(() => expect(feed.seen).toHaveLength(expected.length), { timeoutMs: 20_000 });
      expect([...feed.seen].sort()).toEqual(expected.sort());
      // A connection killed before its first answer does not count.
      expect(watching.stats().reconnects).toBeGreaterThan(0);
      feed.stop();
    });

    it("finds by sweeping what a rescan, or no notification at all, told of", async () => {
      const sweeping = await database.open({ listen: false });
      const feed = collect(sweeping);
      const rescanned = collect(watching);
      await eventually(() => expect(sweeping.stats().status).toBe("polling"));
      await eventually(() => expect(sweeping.stats().queries).toBeGreaterThan(1));
      await database.sql(
        `insert into ${table} (task_id, result) select 'bulk ' || i, '1' from generate_series(1, 6000) as i`,
      );
      await eventually(() => expect(feed.seen).toHaveLength(6_000), { timeoutMs: 10_000 });
      await eventually(() => expect(rescanned.seen).toHaveLength(6_000), { timeoutMs: 10_000 });
      feed.stop();
      rescanned.stop();
    });

    it("does not let a slow or throwing subscriber hold up the others", async () => {
      const uncaught: unknown[] = [];
      const slow = watching
        .results$()
        .pipe(mergeMap(async () => new Promise<never>(() => undefined), 1))
        .subscribe();
      const throwing = watching
        .results$()
        .pipe(take(1))
        .subscribe({ error: (error) => uncaught.push(error) });
      const feed = collect(watching);
      for (let index = 0; index < 10; index += 1) await storing.store(`s${index}`, index);
      await eventually(() => expect(feed.seen).toHaveLength(10));
      slow.unsubscribe();
      throwing.unsubscribe();
      feed.stop();
      expect(uncaught).toEqual([]);
    });

    it("errors when the backend closes: a stream that is cut off must not look complete", async () => {
      const feed = collect(watching);
      await watching.close();
      expect(await feed.ended).toBeInstanceOf(BackendClosedError);
      expect(await collect(watching).ended).toBeInstanceOf(BackendClosedError);
    });
  });
});
