import { Pool } from "pg";
import { Database } from "../../lib/database/database";
import { Deadlines } from "../../lib/waiting/deadlines";
import { DatabaseError } from "kojin-postgres";
import { type LoadReceiver, Loader, type LoaderLimits, type ReadReason } from "../../lib/waiting/loader";
import type { Found, ReadAnswer } from "../../lib/waiting/read-attempts";
import { SchemaCheck } from "../../lib/schema/schema-check";
import { eventually } from "../support/eventually";

class AlwaysMigrated extends SchemaCheck {
  override async pass(): Promise<void> {
    return Promise.resolve();
  }
}

const ignore = (): void => undefined;

/** Notes what was found. */
class Receiver implements LoadReceiver<number> {
  readonly seen: number[] = [];
  readonly reasons: ReadReason[] = [];
  readonly absent = ignore;
  readonly denied = ignore;
  readonly givenUp = ignore;
  readonly recovered = ignore;

  constructor(readonly read: (keys: readonly string[]) => Promise<ReadAnswer<number>>) {}

  found(_key: string, { value }: Found<number>, reason: ReadReason): void {
    this.seen.push(value);
    this.reasons.push(reason);
  }
}

const limits = (deadlines: Deadlines, retryTimeoutMs: number): LoaderLimits => ({
  schemaCheck: new AlwaysMigrated(new Database(new Pool(), "public"), "public"),
  deadlines,
  closed: new AbortController().signal,
  retryTimeoutMs,
});

describe("two reads of the same key under way", () => {
  /** Each read waits until it is answered, with a number for a key that is there. */
  const answers: ((value?: number | Error) => void)[] = [];
  const asked: (readonly string[])[] = [];
  const deadlines = new Deadlines();
  let seen: number[];
  let reasons: ReadReason[];
  let loader: Loader<number>;

  beforeEach(() => {
    answers.length = 0;
    asked.length = 0;
    const receiver = new Receiver(async (keys) => {
      asked.push(keys);
      const [key = ""] = keys;
      return new Promise<ReadAnswer<number>>((resolve, reject) =>
        answers.push((value) => {
          if (value instanceof Error) reject(value);
          else resolve({ found: new Map(value === undefined ? [] : [[key, { value, isOld: false }]]) });
        }),
      );
    });
    ({ seen, reasons } = receiver);
    loader = new Loader<number>(receiver, limits(deadlines, 10_000));
  });

  async function request(count: number): Promise<void> {
    loader.request("a", "notification");
    await eventually(() => expect(answers).toHaveLength(count));
  }

  it("do not show the older one when it comes last", async () => {
    await request(1);
    await request(2);
    answers[1]?.(2);
    await eventually(() => expect(seen).toEqual([2]));
    answers[0]?.(1);
    await loader.drain();
    expect(seen).toEqual([2]);
  });

  it("count from their latest attempt", async () => {
    await request(1);
    await request(2);
    answers[0]?.(new DatabaseError("The connection is gone.", "08006", true, { origin: "session" }));
    await eventually(() => expect(answers).toHaveLength(3));
    answers[2]?.(2);
    await eventually(() => expect(seen).toEqual([2]));
    answers[1]?.(1);
    await loader.drain();
    expect(seen).toEqual([2]);
  });

  it("show both where they come in order, and the older one where the newer found nothing", async () => {
    await request(1);
    await request(2);
    answers[0]?.(1);
    await eventually(() => expect(seen).toEqual([1]));
    answers[1]?.(2);
    await loader.drain();
    await request(3);
    await request(4);
    answers[3]?.();
    await eventually(() => expect(loader.counters.inFlight).toBe(1));
    answers[2]?.(3);
    await loader.drain();
    expect(seen).toEqual([1, 2, 3]);
  });

  it("show the older one to nothing but the call that asked for it", async () => {
    const [asked] = [loader.load("a", "deadline")];
    await eventually(() => expect(answers).toHaveLength(1));
    await request(2);
    answers[1]?.(2);
    await eventually(() => expect(seen).toEqual([2]));
    answers[0]?.(1);
    expect(await asked).toBe(1);
    expect(seen).toEqual([2]);
  });

  describe("and a third one queued", () => {
    const news = { cause: "notification", isAnnounced: true, isOvertaken: false };
    const asks = {
      get: () => void loader.load("a", "read"),
      sweep: () => loader.request("a", "sweep"),
      notification: () => loader.request("a", "notification"),
      announcement: () => loader.request("a", "notification", true),
    };
    it.each([
      ["get", "announcement"],
      ["announcement", "get"],
      ["sweep", "announcement"],
      ["announcement", "sweep"],
      ["notification", "announcement"],
      ["sweep", "notification", "get", "announcement", "sweep"],
    ] as const)("keeps the meaning of an announcement: %s, %s", async (...order) => {
      await request(1);
      await request(2);
      for (const name of order) asks[name]();
      for (const answer of answers.slice(0, 2)) answer();
      await eventually(() => expect(answers).toHaveLength(3));
      answers[2]?.(1);
      await loader.drain();
      expect(reasons).toMatchObject([news]);
    });

    it("keeps the cause of a notification where nothing is announced", async () => {
      await request(1);
      await request(2);
      asks.sweep();
      asks.notification();
      for (const answer of answers.slice(0, 2)) answer();
      await eventually(() => expect(answers).toHaveLength(3));
      answers[2]?.(1);
      await loader.drain();
      expect(reasons).toMatchObject([{ ...news, isAnnounced: false }]);
    });
  });

  it("still pass on what was announced, marked as overtaken", async () => {
    loader.request("a", "notification", true);
    await eventually(() => expect(answers).toHaveLength(1));
    await request(2);
    answers[1]?.(2);
    await eventually(() => expect(seen).toEqual([2]));
    answers[0]?.(1);
    await loader.drain();
    expect(reasons.map(({ isOvertaken, isAnnounced }) => [isOvertaken, isAnnounced])).toEqual([
      [false, false],
      [true, true],
    ]);
  });

  it("leaves out a key whose calls have been rejected, but not one that is watched", async () => {
    await request(1);
    await request(2);
    const rejected = loader.load("late", "read").catch((error: unknown) => error);
    loader.request("watched", "sweep");
    deadlines.end(new Error("too late"));
    expect(await rejected).toMatchObject({ message: "too late" });
    for (const answer of answers) answer();
    await eventually(() => expect(answers).toHaveLength(3));
    expect(asked.at(-1)).toEqual(["watched"]);
    answers[2]?.();
    await loader.drain();
  });

  it("takes ten times as long for ten times as many calls for one key", async () => {
    await request(1);
    await request(2);
    const addMs = (calls: number): number => {
      const startedAt = performance.now();
      for (let call = 0; call < calls; call += 1) loader.load(`key ${calls}`, "read").catch(() => undefined);
      return performance.now() - startedAt;
    };
    addMs(4_000);
    const fewMs = Math.max(1, addMs(4_001));
    // Copying what is there for each call takes a hundred times as long.
    expect(addMs(40_000) / fewMs).toBeLessThan(50);
    deadlines.end(new Error("over"));
  });
});

describe("reads in an outage", () => {
  it("are retried until it has lasted for `retryTimeoutMs`, and then rejected at their first failure", async () => {
    let [reads, isAway] = [0, true];
    const receiver = new Receiver(async () => {
      reads += 1;
      await Promise.resolve();
      if (isAway) throw new DatabaseError("The server is away.", undefined, true, { origin: "connecting" });
      return { found: new Map([["key", { value: 1, isOld: false }]]) };
    });
    const loader = new Loader<number>(receiver, limits(new Deadlines(), 300));
    await expect(loader.load("key", "read")).rejects.toThrow(DatabaseError);
    expect(reads).toBeGreaterThan(1);
    // Until it has lasted so long, a read may still be tried more than once.
    await eventually(async () => {
      const before = reads;
      await expect(loader.load("key", "read")).rejects.toThrow("The server is away.");
      expect(reads - before).toBe(1);
    });
    isAway = false;
    expect(await loader.load("key", "read")).toBe(1);
    isAway = true;
    const before = reads;
    await expect(loader.load("key", "read")).rejects.toThrow(DatabaseError);
    expect(reads - before).toBeGreaterThan(1);
  });
});
