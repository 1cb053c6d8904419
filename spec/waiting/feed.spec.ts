import { setImmediate as turn } from "node:timers/promises";
import { BackendClosedError, DatabaseError } from "../../lib/errors";
import { Snapshot } from "../../lib/waiting/feed-history";
import { Bench, news, Reader, settle } from "../support/feed-bench";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
  const began = bench.now$;
  // Another clock, and as fast.
  jest.spyOn(performance, "now").mockImplementation(() => (bench.now$ - began) / 1_000);
});

afterEach(() => {
  jest.restoreAllMocks();
  bench.feed.close();
  expect([bench.feed.subscribers, bench.notifications.demands]).toEqual([0, 0]);
  bench.sweep.close();
});

it("looks again when a single key was announced very often, and remembers all of its values", async () => {
  const reader = await bench.subscribe();
  bench.looks.length = 0;
  const rows = Array.from({ length: 10_000 }, () => bench.announce("again"));
  await settle();
  expect(bench.looks).toHaveLength(1);
  for (const row of rows) bench.feed.offer(row, news);
  expect(reader.seen).toHaveLength(10_000);
});

describe("subscribers", () => {
  it("see every value that is announced, once, though the next look finds it and a notification is sent again", async () => {
    const readers = [await bench.subscribe(), await bench.subscribe()];
    const rows = ["a", "b", "c"].map((key) => bench.announce(key));
    await bench.catchUp();
    for (const row of rows) bench.feed.offer(row, news);
    await bench.catchUp();
    for (const { seen } of readers) expect(seen).toEqual(["a", "b", "c"]);
    expect(bench.requested).toEqual([]);
  });

  it("see nothing that was there before, even if it is read and announced", async () => {
    const old = bench.store("old");
    bench.now$ += 10_000;
    const reader = await bench.subscribe();
    bench.feed.offer(old, { isAnnounced: false });
    bench.feed.offer(old, news);
    await bench.catchUp();
    expect(reader.seen).toEqual([]);
  });

  it("see no value whose transaction is not known", async () => {
    const reader = await bench.subscribe();
    bench.feed.offer({ key: "adopted", xid: 0, writtenAt: bench.now$ }, news);
    expect(reader.seen).toEqual([]);
  });

  it("see only what their condition lets pass, and the rest is not read", async () => {
    const reader = await bench.subscribe((key) => key.startsWith("a"));
    for (const key of ["a1", "b1"]) bench.store(key);
    await bench.catchUp();
    for (const key of ["a2", "b2"]) bench.announce(key);
    expect([reader.seen, bench.requested]).toEqual([["a1", "a2"], ["a1"]]);
    expect(["a", "b"].map((key) => bench.feed.wants(key))).toEqual([true, false]);
  });

  it("that come after the last has left see nothing from before", async () => {
    const first = await bench.subscribe();
    first.subscription.unsubscribe();
    bench.store("between");
    bench.now$ += 1_000;
    const second = await bench.subscribe();
    await bench.catchUp();
    bench.announce("now");
    expect([first.seen, second.seen]).toEqual([[], ["now"]]);
  });

  it("are not served by a look that was begun for others", async () => {
    const first = await bench.subscribe();
    bench.store("for the first");
    const open = bench.hold();
    bench.feed.catchUp();
    first.subscription.unsubscribe();
    bench.now$ += 1_000;
    const second = new Reader(bench.feed);
    bench.recover();
    await open();
    expect([first.seen, second.seen]).toEqual([[], []]);
  });
});

describe("a look", () => {
  it("finds what no notification told of", async () => {
    const reader = await bench.subscribe();
    bench.store("a");
    await bench.catchUp();
    bench.store("b");
    await bench.catchUp();
    expect(reader.seen).toEqual(["a", "b"]);
  });

  it("finds what was written before it and committed after it, however long that took", async () => {
    const reader = await bench.subscribe();
    const long = bench.begin();
    long.write("long");
    for (let hour = 0; hour < 3; hour += 1) {
      bench.now$ += 3_600_000_000;
      bench.announce(`meanwhile ${hour}`);
      await bench.catchUp();
    }
    long.commit();
    await bench.catchUp();
    await bench.catchUp();
    expect(reader.seen).toEqual(["meanwhile 0", "meanwhile 1", "meanwhile 2", "long"]);
  });

  it.each([
    ["no time that can be", Infinity],
    ["a time that is yet to come", 4_000_000_000_000_000],
    ["a time long past", 1],
  ])("finds what bears %s", async (_what, writtenAt) => {
    const reader = await bench.subscribe();
    bench.store("a", writtenAt);
    await bench.catchUp();
    expect(reader.seen).toEqual(["a"]);
  });

  it("finds a key again that was written by a transaction with a lower number", async () => {
    const reader = await bench.subscribe();
    const early = bench.begin();
    bench.announce("key");
    early.write("key");
    early.commit();
    await bench.catchUp();
    expect(reader.seen).toEqual(["key", "key"]);
  });

  it("neither reads nor emits again what was stored while a transaction is open", async () => {
    const reader = await bench.subscribe();
    bench.begin().write("never committed");
    for (let round = 0; round < 20; round += 1) {
      for (let count = 0; count < 50; count += 1) bench.announce(`announced ${round} ${count}`);
      for (let count = 0; count < 50; count += 1) bench.store(`missed ${round} ${count}`);
      await bench.catchUp();
    }
    expect([reader.seen.length, new Set(reader.seen).size, bench.requested.length]).toEqual([2_000, 2_000, 1_000]);
  });

  it("is taken in between once much is remembered", async () => {
    const reader = await bench.subscribe();
    bench.looks.length = 0;
    for (let count = 0; count < 25_000; count += 1) {
      bench.announce(String(count));
      if (count % 1_000 === 0) await settle();
    }
    // The second one reads what has been emitted since the snapshot before, which is a page and the empty one after it.
    expect(bench.looks.length).toBe(3);
    expect(reader.seen).toHaveLength(25_000);
  });

  it("reads page after page where there is much, and asks for so many at once", async () => {
    const reader = await bench.subscribe();
    const transaction = bench.begin();
    const keys = Array.from({ length: 45_000 }, (_, index) => String(index).padStart(5, "0"));
    for (const key of keys) transaction.write(key);
    transaction.commit();
    let asked = 0;
    let most = 0;
    const answer = bench.answer;
    bench.answer = (key) => {
      most = Math.max(most, (asked = bench.requested.length - reader.seen.length));
      answer(key);
    };
    await bench.catchUp();
    for (let count = 0; count < 100; count += 1) await turn();
    expect(reader.seen).toEqual(keys);
    expect([most <= 1_000, asked <= 1_000]).toEqual([true, true]);
    expect(bench.looks.slice(-3)).toEqual(["after ", "after 19999", "after 39999"]);
  });

  it("is taken once more for those who ask meanwhile, and not once for each", async () => {
    await bench.subscribe();
    bench.looks.length = 0;
    const open = bench.hold();
    for (let call = 0; call < 5; call += 1) bench.feed.catchUp();
    await open();
    expect(bench.looks).toHaveLength(2);
  });

  it("is repeated until everything has come, whatever fails in between", async () => {
    const reader = await bench.subscribe();
    bench.store("missed");
    bench.fail();
    for (let count = 0; count < 20; count += 1) await bench.catchUp();
    bench.recover();
    const { answer } = bench;
    bench.answer = (key) => bench.feed.giveUp([key], new DatabaseError("no answer", undefined, true));
    for (let count = 0; count < 20; count += 1) await bench.catchUp();
    expect([reader.seen, reader.errors]).toEqual([[], []]);
    bench.answer = answer;
    await bench.catchUp();
    await bench.catchUp();
    expect([reader.seen, reader.errors]).toEqual([["missed"], []]);
  });

  it("goes on where a value is gone by the time it is read", async () => {
    const reader = await bench.subscribe();
    bench.store("gone");
    bench.store("there");
    const { answer } = bench;
    bench.answer = (key) => {
      bench.table.delete("gone");
      answer(key);
    };
    await bench.catchUp();
    expect(reader.seen).toEqual(["there"]);
  });
});

describe("the beginning", () => {
  it("is the moment of the subscription, not that of the first look", async () => {
    const old = bench.store("old");
    bench.now$ += 10_000;
    const open = bench.hold();
    const reader = new Reader(bench.feed);
    bench.feed.offer(old, { isAnnounced: false });
    const young = bench.store("young");
    bench.feed.offer(young, { isAnnounced: false });
    bench.announce("announced");
    bench.recover();
    await open();
    expect(reader.seen.toSorted()).toEqual(["announced", "young"]);
  });

  it("waits for the database, for as long as that takes", async () => {
    bench.fail();
    const reader = new Reader(bench.feed);
    await settle();
    bench.now$ += 600_000_000;
    bench.store("in the outage");
    bench.now$ += 600_000_000;
    await bench.catchUp();
    bench.recover();
    await bench.catchUp();
    expect([reader.seen, reader.errors]).toEqual([["in the outage"], []]);
  });

  it("ignores what bears a time that is yet to come, as it may be old", async () => {
    bench.store("old", 4_000_000_000_000_000);
    const reader = await bench.subscribe();
    await bench.catchUp();
    expect(reader.seen).toEqual([]);
  });
});

it("a server with lower numbers is another one: what was written there since the latest look is found by its time", async () => {
  const reader = await bench.subscribe();
  bench.announce("before");
  await bench.catchUp();
  const earlier = new Bench();
  earlier.now$ = bench.now$;
  earlier.store("old");
  bench.now$ = earlier.now$ += 1_000;
  await bench.catchUp();
  bench.now$ = earlier.now$ += 1_000;
  const missed = earlier.store("missed");
  bench.now$ = earlier.now$;
  bench.table.set("missed", missed);
  jest
    .spyOn(bench, "now")
    .mockImplementation(async () => Promise.resolve({ snapshot: new Snapshot("0:50:"), serverMicros: bench.now$ }));
  await bench.catchUp();
  expect(reader.seen).toEqual(["before", "missed"]);
  earlier.sweep.close();
});

describe("a condition that throws", () => {
  it.each([
    ["as a value is offered", (): unknown => bench.announce("a")],
    ["as a notification is looked at", (): unknown => bench.feed.wants("a")],
    ["while it catches up", (): unknown => bench.catchUp()],
  ])("ends its own subscription %s, and no other", async (_when, look) => {
    const broken = new Error("broken condition");
    const throwing = (): never => {
      throw broken;
    };
    const readers = [await bench.subscribe(), await bench.subscribe(throwing), await bench.subscribe()];
    bench.store("a");
    await look();
    bench.announce("b");
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
    bench.recover();
    const later = await bench.subscribe();
    bench.announce("a");
    expect([reader.errors, reader.seen]).toEqual([[expect.any(DatabaseError)], []]);
    expect([later.errors, later.seen]).toEqual([[], ["a"]]);
  });
});
