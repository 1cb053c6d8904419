import { setImmediate as turn } from "node:timers/promises";
import { BehaviorSubject, type Subscription } from "rxjs";
import { BackendClosedError, DatabaseError } from "../../lib/errors";
import type { StoredResult } from "../../lib/notify/hint";
import type { ListenStatus } from "../../lib/notify/hint-source";
import { NoHints } from "../../lib/notify/no-hints";
import { Feed, type FeedParts, type Mark } from "../../lib/wait/feed";
import { Sweep } from "../../lib/wait/sweep";

const millisecond = 1_000;
const second = 1_000_000;
const start = 1_700_000_000 * second;

/** Counts those who need hints, and is in the state it is told to be in. */
class Hints extends NoHints {
  demands = 0;
  override readonly status$ = new BehaviorSubject<ListenStatus>("listening");

  override demand(): () => void {
    this.demands += 1;
    return () => (this.demands -= 1);
  }
}

const compareMarks = (a: Mark, b: Mark): number => a.storedAt - b.storedAt || a.key.localeCompare(b.key);

/** A feed over a table in memory, which reads as the statements do. */
class Bench implements FeedParts<StoredResult> {
  /** The database's time, in microseconds. */
  now = start;
  readonly table = new Map<string, StoredResult>();
  /** From where on each look read. */
  readonly looks: Mark[] = [];
  readonly requested: string[] = [];
  clockReads = 0;
  readonly hints = new Hints();
  readonly sweep = new Sweep(this.hints, 60_000, () => undefined);
  readonly feed = new Feed(this);
  /** What each read waits for, or fails with. */
  gate = Promise.resolve();

  readonly markOf = ({ taskId, storedAt }: StoredResult): Mark => ({ key: taskId, storedAt });

  /** The time is that of the answer: the later, the more could be missed. */
  readonly readClock = async (): Promise<number> => {
    this.clockReads += 1;
    await this.gate;
    return this.now;
  };

  readonly readStoredSince = async (after: Mark, limit: number): Promise<Mark[]> => {
    this.looks.push(after);
    const marks = [...this.table.values()].map(this.markOf).filter((mark) => compareMarks(mark, after) > 0);
    await this.gate;
    return marks.toSorted(compareMarks).slice(0, limit);
  };

  readonly request = (taskId: string): void => {
    this.requested.push(taskId);
    const stored = this.table.get(taskId);
    if (stored !== undefined) queueMicrotask(() => this.feed.offer(stored, false));
  };

  /** Stores a result that nobody hears of yet. */
  store(taskId: string, storedAt = (this.now += millisecond)): StoredResult {
    const stored = { taskId, result: `"${taskId}"`, error: null, storedAt };
    this.table.set(taskId, stored);
    return stored;
  }

  /** Stores a result, and has it read as after a notification. */
  hint(taskId: string): StoredResult {
    const stored = this.store(taskId);
    this.feed.offer(stored, true);
    return stored;
  }

  /** From here on reads wait until the function it gives is called. */
  hold(): () => Promise<void> {
    let open = (): void => undefined;
    this.gate = new Promise((resolve) => (open = resolve));
    return async () => {
      open();
      await turn();
    };
  }

  fail(transient = true): void {
    this.gate = Promise.reject(new DatabaseError("no answer", undefined, transient));
  }

  /** Subscribes, and waits until the feed knows from when on. */
  async subscribe(where?: (taskId: string) => boolean): Promise<Reader> {
    const reader = new Reader(this.feed, where);
    await turn();
    this.looks.length = 0;
    return reader;
  }

  /** What each change of the listener's status does. */
  async change(status: ListenStatus): Promise<void> {
    this.hints.status$.next(status);
    if (status === "listening") this.feed.catchUp();
    else this.feed.interrupt();
    await turn();
  }

  /** What each sweep does. */
  async catchUp(): Promise<void> {
    this.feed.catchUp();
    await turn();
  }
}

class Reader {
  readonly seen: string[] = [];
  readonly errors: unknown[] = [];
  readonly subscription: Subscription;
  onNext: () => void = () => undefined;

  constructor(feed: Feed<StoredResult>, where: (taskId: string) => boolean = () => true) {
    this.subscription = feed.values$(where).subscribe({
      next: ({ taskId }) => {
        this.seen.push(taskId);
        this.onNext();
      },
      error: (error) => this.errors.push(error),
    });
  }
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
  // Another clock, and as fast.
  jest.spyOn(performance, "now").mockImplementation(() => (bench.now - start) / millisecond);
});

afterEach(() => {
  jest.restoreAllMocks();
  bench.feed.close();
  expect([bench.feed.subscribers, bench.hints.demands]).toEqual([0, 0]);
  bench.sweep.close();
});

describe("subscribers", () => {
  it("see every result that a hint tells of", async () => {
    const readers = [await bench.subscribe(), await bench.subscribe()];
    for (const taskId of ["a", "b", "c"]) bench.hint(taskId);
    for (const { seen } of readers) expect(seen).toEqual(["a", "b", "c"]);
  });

  it("see only what a hint tells of while the time of the subscription is not known, and the rest as soon as it is", async () => {
    const open = bench.hold();
    const reader = new Reader(bench.feed);
    bench.feed.offer(bench.store("read for other reasons"), false);
    bench.hint("heard");
    expect(reader.seen).toEqual(["heard"]);
    bench.now += second;
    await open();
    await turn();
    expect([reader.seen, bench.looks.length]).toEqual([["heard", "read for other reasons"], 1]);
  });

  it("see only what their condition lets pass, and the rest is not wanted", async () => {
    const reader = await bench.subscribe((taskId) => taskId.startsWith("mail:"));
    expect(["mail:1", "other"].map((taskId) => bench.feed.wants(taskId))).toEqual([true, false]);
    bench.hint("other");
    bench.hint("mail:1");
    bench.store("another");
    bench.store("mail:2");
    await bench.catchUp();
    expect(reader.seen).toEqual(["mail:1", "mail:2"]);
    expect(bench.requested).toEqual(["mail:2"]);
  });

  it("see each result once, however often it is offered, and one that replaces it as well", async () => {
    const reader = await bench.subscribe();
    const stored = bench.hint("a");
    bench.feed.offer(stored, true);
    bench.feed.offer({ ...stored }, false);
    expect(reader.seen).toEqual(["a"]);
    bench.hint("a");
    expect(reader.seen).toEqual(["a", "a"]);
  });

  it("do not see again the result that was replaced, when a slow read still brings it", async () => {
    const reader = await bench.subscribe();
    const replaced = bench.hint("a");
    bench.hint("a");
    bench.feed.offer(replaced, true);
    expect(reader.seen).toEqual(["a", "a"]);
  });

  it("may leave while others are served, and the last of them lets go of the listener", async () => {
    const first = await bench.subscribe();
    const second = await bench.subscribe();
    const third = await bench.subscribe();
    second.onNext = () => [first, third].forEach(({ subscription }) => subscription.unsubscribe());
    for (const taskId of ["a", "b"]) bench.hint(taskId);
    expect([first.seen, second.seen, third.seen]).toEqual([["a"], ["a", "b"], []]);
    expect([bench.feed.subscribers, bench.hints.demands]).toEqual([1, 1]);
  });
});

describe("nobody subscribed", () => {
  it("wants nothing, reads nothing and keeps nothing", async () => {
    bench.hint("a");
    await bench.catchUp();
    expect([bench.feed.wants("a"), bench.clockReads, bench.looks]).toEqual([false, 0, []]);
  });

  it("begins anew with the next subscriber", async () => {
    const early = await bench.subscribe();
    early.subscription.unsubscribe();
    bench.now += 3_600 * second;
    bench.store("between");
    bench.now += second;
    const late = await bench.subscribe();
    await bench.catchUp();
    expect([late.seen, bench.clockReads]).toEqual([[], 2]);
    expect(bench.looks).toEqual([{ storedAt: bench.now, key: "" }]);
  });

  it("forgets the time that was being read for a subscriber who has left since", async () => {
    const open = bench.hold();
    const early = new Reader(bench.feed);
    early.subscription.unsubscribe();
    await open();
    bench.store("between");
    bench.now += second;
    const late = await bench.subscribe();
    await bench.catchUp();
    expect(late.seen).toEqual([]);
  });

  it("forgets what was being looked for and read for a subscriber who has left since", async () => {
    const early = await bench.subscribe();
    const stored = bench.store("between");
    jest.spyOn(bench, "request").mockReturnValue(undefined);
    await bench.catchUp();
    const open = bench.hold();
    bench.feed.catchUp();
    early.subscription.unsubscribe();
    bench.now += second;
    const late = new Reader(bench.feed);
    await open();
    bench.feed.offer(stored, false);
    expect([late.seen, bench.clockReads]).toEqual([[], 2]);
  });
});

describe("catching up", () => {
  it("emits what no hint told of since the subscription, oldest first, and nothing twice", async () => {
    const before = bench.store("before");
    bench.now += second;
    const reader = await bench.subscribe();
    bench.hint("heard");
    const found = ["c", "a", "b"];
    for (const taskId of found) bench.store(taskId);
    for (let look = 0; look < 3; look += 1) await bench.catchUp();
    bench.feed.offer(before, false);
    bench.feed.offer(bench.table.get("b") as StoredResult, true);
    expect([reader.seen, bench.requested]).toEqual([["heard", ...found], found]);
  });

  // Transactions end in another order than they write.
  it("looks back ten seconds from the newest result, but not beyond the subscription", async () => {
    const reader = await bench.subscribe();
    const began = bench.now;
    await bench.change("polling");
    bench.now += 60 * second;
    const found = bench.store("found").storedAt;
    await bench.catchUp();
    await bench.change("listening");
    bench.now += 60 * second;
    const heard = bench.hint("heard").storedAt;
    bench.store("slow", heard - 9 * second);
    bench.feed.offer(bench.store("read for other reasons", heard - 11 * second), false);
    await bench.catchUp();
    const looks = [began, found - 10 * second, heard - 10 * second];
    expect(bench.looks.map(({ storedAt }) => storedAt)).toEqual(looks);
    expect(reader.seen).toEqual(["found", "heard", "slow"]);
  });

  let reader: Reader;
  let open: () => Promise<void>;
  const subscribe = async (): Promise<Reader> => (reader = await bench.subscribe());
  const lose = (): unknown => bench.change("polling");
  const fail = (): unknown => bench.feed.interrupt();
  const miss = (): unknown => [bench.store("missed"), (bench.now += 60 * second)];
  const hear = (): unknown => bench.hint("heard");
  const listen = (): unknown => [(open = bench.hold()), bench.change("listening")];
  it.each([
    ["before it looks for the first time", [lose, subscribe, miss, hear, listen]],
    ["before it looks", [subscribe, lose, miss, hear, listen]],
    ["while it looks", [subscribe, lose, miss, listen, hear]],
    ["after it looked while nothing is heard", [subscribe, lose, () => bench.catchUp(), miss, hear, listen]],
    ["after a read failed while it looked", [subscribe, listen, fail, miss, () => open(), hear, listen]],
  ])("misses nothing when it is hinted at something newer %s", async (_when, steps) => {
    for (const step of steps) await step();
    await open();
    expect(reader.seen).toEqual(["heard", "missed"]);
  });

  it("reads from a whole microsecond on, as the statement takes no other", async () => {
    jest.spyOn(performance, "now").mockReturnValueOnce(0).mockReturnValue(0.1234);
    await bench.subscribe();
    await bench.catchUp();
    expect(bench.looks.map(({ storedAt }) => Number.isInteger(storedAt))).toEqual([true]);
  });

  it("remembers what it has emitted for as long as it looks back, and the latest 10 000 in any case", async () => {
    const reader = await bench.subscribe();
    const taskIds = Array.from({ length: 25_000 }, (_, index) => `task-${String(index)}`);
    for (const taskId of taskIds) {
      bench.feed.offer(bench.store(taskId, (bench.now += second / 10)), true);
      if (bench.table.size % 500 === 0) await bench.catchUp();
    }
    for (const stored of [...bench.table.values()].slice(-10_000)) bench.feed.offer(stored, true);
    expect([reader.seen, bench.requested]).toEqual([taskIds, []]);
  });

  it("reads page after page where there is much, with nothing left out where one ends", async () => {
    const reader = await bench.subscribe();
    const at = bench.now + second;
    const taskIds = Array.from({ length: 2_500 }, (_, index) => String(index).padStart(4, "0"));
    for (const taskId of taskIds) bench.store(taskId, at);
    await bench.catchUp();
    expect(reader.seen).toEqual(taskIds);
    expect(bench.looks.slice(1)).toEqual(["0999", "1999"].map((key) => ({ storedAt: at, key })));
  });

  it("looks once more for those who ask while it looks, and not once for each", async () => {
    await bench.subscribe();
    const open = bench.hold();
    for (let call = 0; call < 5; call += 1) bench.feed.catchUp();
    expect(bench.looks).toHaveLength(1);
    await open();
    expect(bench.looks).toHaveLength(2);
  });

  it("looks again the next time after an outage, and makes up for what was stored meanwhile", async () => {
    bench.fail();
    const reader = await bench.subscribe();
    for (const taskId of ["while the time is read", "while results are read"]) {
      bench.store(taskId);
      bench.fail();
      await bench.catchUp();
      expect(reader.seen).not.toContain(taskId);
      bench.gate = Promise.resolve();
      // The first time it only reads the time.
      await bench.catchUp();
      await bench.catchUp();
      expect(reader.seen.at(-1)).toBe(taskId);
    }
    expect([reader.errors, bench.clockReads]).toEqual([[], 3]);
  });
});

describe("a condition that throws", () => {
  it.each([
    ["as a result is offered", (): unknown => bench.hint("a")],
    ["as a hint is looked at", (): unknown => bench.feed.wants("a")],
    ["while it catches up", (): unknown => bench.catchUp()],
  ])("ends its own subscription %s, and no other", async (_when, look) => {
    const broken = new Error("broken condition");
    const throwing = (): never => {
      throw broken;
    };
    const readers = [await bench.subscribe(), await bench.subscribe(throwing), await bench.subscribe()];
    bench.store("a");
    await look();
    bench.hint("b");
    const other = [[], "b"];
    expect(readers.map(({ errors, seen }) => [errors, seen.at(-1)])).toEqual([other, [[broken], undefined], other]);
    expect(bench.feed.subscribers).toBe(2);
  });
});

describe("the end", () => {
  it("errors every stream when the backend is closed, and later ones at once", async () => {
    const readers = [await bench.subscribe(), await bench.subscribe()];
    bench.feed.close();
    readers.push(new Reader(bench.feed));
    for (const { errors } of readers) expect(errors).toEqual([expect.any(BackendClosedError)]);
    expect(bench.feed.subscribers).toBe(0);
  });

  it("comes with an error that is no outage for those who are there, and not for later ones", async () => {
    const reader = await bench.subscribe();
    bench.fail(false);
    await bench.catchUp();
    bench.gate = Promise.resolve();
    const later = await bench.subscribe();
    bench.hint("a");
    expect([reader.errors, reader.seen]).toEqual([[expect.any(DatabaseError)], []]);
    expect([later.errors, later.seen]).toEqual([[], ["a"]]);
  });
});
