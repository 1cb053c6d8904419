import { concat, NEVER, of, type Subscription, take } from "rxjs";
import { MemoryResultBackend } from "kojin-postgres";
import { awaitResults, settleResults } from "kojin-postgres/operators";
import { parse, VirtualTime } from "./support/virtual-time";

/** What became of the task whose letter it is: stored as its capital, failed, or not there in time. */
const outcome = {
  of: (letter: string) => ({ taskId: letter, status: "fulfilled", value: letter.toUpperCase() }),
  failed: (letter: string) => ({ taskId: letter, status: "rejected", reason: withCode("TASK_FAILED") }),
  late: (letter: string) => ({ taskId: letter, status: "rejected", reason: withCode("WAIT_TIMEOUT") }),
};
const withCode = (code: string): unknown => expect.objectContaining({ code });
const timedOut = (taskId: string, timeoutMs: number): object => {
  const facts = { taskId, timeoutMs, message: `No result for task ${taskId} within ${timeoutMs} ms.` };
  return { taskId, status: "rejected", reason: expect.objectContaining(facts) as unknown };
};
const [A, B] = [outcome.of("a"), outcome.of("b")];

describe("in virtual time", () => {
  let backend: MemoryResultBackend;
  let time: VirtualTime;

  beforeEach(() => {
    jest.useFakeTimers();
    backend = new MemoryResultBackend();
    time = new VirtualTime();
  });

  afterEach(async () => {
    expect(backend.stats()).toEqual({ waiting: 0 });
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
    await backend.close();
  });

  const stored = (marbles: string): void => time.at(marbles, (id) => backend.store(id, id.toUpperCase()));

  describe("awaitResults", () => {
    it("gives each outcome as soon as it is known, a timeout too, and then completes", async () => {
      const ids$ = time.source("         a-b-c-|");
      stored("                           ---b---a");
      const expected = parse("           ---B---A----(C|)", { A, B, C: outcome.late("c") });
      expect(await time.record(ids$.pipe(awaitResults(backend, { timeoutMs: 8 })))).toEqual(expected);
    });

    it("gives a failure as one more outcome", async () => {
      time.at("-a", (id) => backend.fail(id, new Error("no")));
      stored("--b");
      const outcomes$ = time.source("(ab|)").pipe(awaitResults(backend, { timeoutMs: 8 }));
      expect(await time.record(outcomes$)).toEqual(parse("-A(B|)", { A: outcome.failed("a"), B }));
    });

    it("gives at once what is stored already, and an id that comes twice twice", async () => {
      await backend.store("a", "A");
      const outcomes$ = time.source("a--(aa)-|").pipe(awaitResults(backend, { timeoutMs: 0 }));
      expect(await time.record(outcomes$)).toEqual(parse("A--(AA)-|", { A }));
    });

    it("waits for as many as it may at once, and the others stand in line", async () => {
      stored("--b--a");
      const inTurn$ = time.source("(ab)|").pipe(awaitResults(backend, { timeoutMs: 6, concurrency: 1 }));
      expect(await time.record(inTurn$)).toEqual(parse("-----(AB|)", { A, B }));
    });

    it("counts the time from when an id comes, and reads once what has stood in line for longer", async () => {
      stored("-z");
      const late$ = time.source("(xyzw)v|").pipe(awaitResults(backend, { timeoutMs: 9, concurrency: 2 }));
      const values = { X: outcome.late("x"), Y: outcome.late("y"), Z: outcome.of("z"), W: outcome.late("w") };
      // v came six milliseconds after w.
      const expected = parse("---------(XYZW)(V|)", { ...values, V: outcome.late("v") });
      expect(await time.record(late$)).toEqual(expected);
      expect(expected.map(({ frame }) => frame)).toEqual([9, 9, 9, 9, 15, 15]);
    });

    it("tells in the error of a timeout how much time there was", async () => {
      const late$ = time.source("(xy|)").pipe(settleResults(backend, { timeoutMs: 9, concurrency: 1 }));
      const both = ["x", "y"].map((taskId) => timedOut(taskId, 9));
      expect(await time.record(late$)).toEqual(parse("---------(a|)", { a: both }));
    });

    it("errors when its source does, and ends the waits", async () => {
      const outcomes$ = time.source("ab-#", new Error("source")).pipe(awaitResults(backend, { timeoutMs: 500 }));
      stored("--b");
      expect(await time.record(outcomes$)).toEqual(parse("--B#", { B }, new Error("source")));
    });

    it("errors with what is wrong with an id", async () => {
      const outcomes$ = concat(of("a", ""), NEVER).pipe(awaitResults(backend, { timeoutMs: 500 }));
      expect(await time.record(outcomes$)).toEqual(parse("#", {}, expect.any(RangeError)));
    });

    it("errors when the backend closes: a stream that is cut off must not look complete", async () => {
      time.at("--x", () => backend.close());
      const outcomes$ = time.source("a").pipe(awaitResults(backend, { timeoutMs: 500 }));
      expect(await time.record(outcomes$)).toEqual(parse("--#", {}, withCode("BACKEND_CLOSED")));
    });

    it("ends all waits when it is unsubscribed from, by whatever way", async () => {
      const stream$ = time.source("abc").pipe(awaitResults(backend, { timeoutMs: Infinity }));
      const subscriptions: Subscription[] = [stream$.subscribe(), stream$.subscribe()];
      await jest.advanceTimersByTimeAsync(5);
      subscriptions[0]?.unsubscribe();
      await jest.advanceTimersByTimeAsync(0);
      expect(backend.stats()).toEqual({ waiting: 3 });
      subscriptions[1]?.unsubscribe();
      await jest.advanceTimersByTimeAsync(0);
      expect(backend.stats()).toEqual({ waiting: 0 });
      time = new VirtualTime();
      stored("---b");
      const first$ = time.source("abc").pipe(awaitResults(backend, { timeoutMs: Infinity }), take(1));
      const [message] = await time.record(first$);
      expect(message).toEqual({ frame: 3, notification: { kind: "N", value: B, error: undefined } });
    });
  });

  describe("settleResults", () => {
    it("gives all outcomes once, in the order of the ids", async () => {
      const ids$ = time.source("         a-b-|");
      stored("                           ---b---a");
      const expected = parse("           -------(x|)", { x: [A, B] });
      expect(await time.record(ids$.pipe(settleResults(backend, { timeoutMs: 8 })))).toEqual(expected);
    });

    it("keeps that order with failures, timeouts, ids that come twice, and a limit", async () => {
      time.at("-b", (id) => backend.fail(id, new Error("no")));
      stored("----a");
      const settled$ = time.source("(abca|)").pipe(settleResults(backend, { timeoutMs: 5, concurrency: 2 }));
      const all = [A, outcome.failed("b"), outcome.late("c"), A];
      expect(await time.record(settled$)).toEqual(parse("-----(x|)", { x: all }));
    });

    it("waits for its source to complete, and gives an empty array for no ids", async () => {
      stored("a");
      const settled$ = time.source("a---|").pipe(settleResults(backend, { timeoutMs: 8 }));
      expect(await time.record(settled$)).toEqual(parse("----(x|)", { x: [A] }));
      time = new VirtualTime();
      const none$ = time.source("--|").pipe(settleResults(backend, { timeoutMs: 8 }));
      expect(await time.record(none$)).toEqual(parse("--(x|)", { x: [] }));
    });

    it("errors when its source does, and ends the waits", async () => {
      const settled$ = time.source("a--#", new Error("source")).pipe(settleResults(backend, { timeoutMs: 500 }));
      expect(await time.record(settled$)).toEqual(parse("---#", {}, new Error("source")));
    });
  });

  it.each([
    [{ timeoutMs: -1 }, RangeError],
    [{ timeoutMs: "5" as unknown as number }, TypeError],
    [{ timeoutMs: 5, concurrency: 0 }, RangeError],
    [{ timeoutMs: 5, concurrency: 1.5 }, RangeError],
    [{ timeoutMs: 5, concurency: 10 }, TypeError],
  ])("both refuse the options %j at once", (options, type) => {
    expect(() => awaitResults(backend, options)).toThrow(type);
    expect(() => settleResults(backend, options)).toThrow(type);
  });
});
