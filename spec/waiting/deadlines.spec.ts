import { getEventListeners } from "node:events";
import fc from "fast-check";

import { Call, type Deadline, Deadlines } from "../../lib/waiting/deadlines";

const longestTimerMs = 2 ** 31 - 1;

/** Ends at a time, and remembers whether it has. */
class Entry implements Deadline {
  heapIndex = -1;
  readonly dueAt: number;
  readonly ends: unknown[] = [];

  constructor(
    inMs: number,
    readonly onExpire: (entry: Entry) => void = () => undefined,
  ) {
    this.dueAt = performance.now() + inMs;
  }

  expire(reason?: unknown): void {
    this.ends.push(reason);
    this.onExpire(this);
  }
}

function addAll(deadlines: Deadlines, ...inMs: number[]): Entry[] {
  const entries = inMs.map((ms) => new Entry(ms));
  for (const entry of entries) deadlines.add(entry);
  return entries;
}

const endsOf = (entries: readonly Entry[]): number[] => entries.map(({ ends }) => ends.length);

beforeEach(() => jest.useFakeTimers());

afterEach(() => {
  const timers = jest.getTimerCount();
  jest.restoreAllMocks();
  jest.useRealTimers();
  expect(timers).toBe(0);
});

it("expires each entry once, when it is due and not before", () => {
  const deadlines = new Deadlines();
  const entries = addAll(deadlines, 30, 10, 20);
  jest.advanceTimersByTime(9);
  expect(endsOf(entries)).toEqual([0, 0, 0]);
  jest.advanceTimersByTime(1);
  expect(endsOf(entries)).toEqual([0, 1, 0]);
  jest.advanceTimersByTime(10);
  expect(endsOf(entries)).toEqual([0, 1, 1]);
  jest.advanceTimersByTime(1_000);
  expect(endsOf(entries)).toEqual([1, 1, 1]);
  expect(entries.map(({ ends }) => ends[0])).toEqual([undefined, undefined, undefined]);
  expect(deadlines.size).toBe(0);
});

it("expires entries in the order of their times, however they came", () => {
  const deadlines = new Deadlines();
  const order: number[] = [];
  const delays = [5, 3, 9, 1, 7, 3, 8, 2, 6, 4];
  for (const ms of delays) deadlines.add(new Entry(ms, () => order.push(ms)));
  jest.advanceTimersByTime(100);
  expect(order).toEqual(delays.toSorted((a, b) => a - b));
});

it.each([0, -5])("expires an entry that is due in %p ms, but not while it is being added", (inMs) => {
  const [entry] = addAll(new Deadlines(), inMs);
  expect(entry?.ends).toEqual([]);
  jest.advanceTimersByTime(0);
  expect(entry?.ends).toEqual([undefined]);
});

it("never expires an entry before its fraction of a millisecond has passed", () => {
  const timers = jest.spyOn(globalThis, "setTimeout");
  const [entry] = addAll(new Deadlines(), 10.25);
  jest.advanceTimersByTime(10);
  expect(entry?.ends).toEqual([]);
  jest.advanceTimersByTime(1);
  expect(entry?.ends).toEqual([undefined]);
  expect(timers).toHaveBeenCalledTimes(1);
});

it("keeps one timer for 10 000 entries, and none for none", () => {
  const deadlines = new Deadlines();
  expect(jest.getTimerCount()).toBe(0);
  const entries = addAll(deadlines, ...Array.from({ length: 10_000 }, (_, index) => 1 + ((index * 7_919) % 10_000)));
  expect(jest.getTimerCount()).toBe(1);
  expect(deadlines.size).toBe(10_000);
  for (const entry of entries.slice(0, 5_000)) deadlines.remove(entry);
  expect(jest.getTimerCount()).toBe(1);
  for (const entry of entries.slice(5_000)) deadlines.remove(entry);
  expect(jest.getTimerCount()).toBe(0);
  expect(deadlines.size).toBe(0);
});

it("arms its timer anew for an entry that is due earlier", () => {
  const deadlines = new Deadlines();
  const [late, early] = addAll(deadlines, 1_000, 10);
  expect(jest.getTimerCount()).toBe(1);
  jest.advanceTimersByTime(10);
  expect([late?.ends.length, early?.ends.length]).toEqual([0, 1]);
  jest.advanceTimersByTime(990);
  expect(late?.ends.length).toBe(1);
});

it("forgets an entry that is removed", () => {
  const deadlines = new Deadlines();
  const [first, second, third] = addAll(deadlines, 10, 20, 30);
  if (first) deadlines.remove(first);
  if (second) deadlines.remove(second);
  jest.advanceTimersByTime(100);
  expect(endsOf([first, second, third].filter((entry) => entry !== undefined))).toEqual([0, 0, 1]);
});

it("keeps the order when an entry is removed whose place a much earlier one takes", () => {
  const deadlines = new Deadlines();
  // As a heap: 1 above 100 and 2, 100 above 110 and 120, 2 above 3 and 4. The place of 110 goes to 4, which is due
  // before 100.
  const entries = addAll(deadlines, 1, 100, 2, 110, 120, 3, 4);
  for (const entry of entries.slice(3, 4)) deadlines.remove(entry);
  jest.advanceTimersByTime(4);
  expect(endsOf(entries)).toEqual([1, 0, 1, 0, 0, 1, 1]);
  deadlines.end(new Error("closed"));
});

it("ignores the removal of an entry that is not there, or not there any more", () => {
  const deadlines = new Deadlines();
  const [due, kept] = addAll(deadlines, 10, 20);
  deadlines.remove(new Entry(5));
  jest.advanceTimersByTime(10);
  if (due) deadlines.remove(due);
  expect(deadlines.size).toBe(1);
  jest.advanceTimersByTime(10);
  expect(kept?.ends.length).toBe(1);
});

it("takes an entry again that has been removed or has expired", () => {
  const deadlines = new Deadlines();
  const [entry] = addAll(deadlines, 10);
  if (entry === undefined) return;
  deadlines.remove(entry);
  deadlines.add(entry);
  jest.advanceTimersByTime(10);
  deadlines.add(entry);
  jest.advanceTimersByTime(0);
  expect(entry.ends).toHaveLength(2);
});

it("lets entries add and remove others while they expire", () => {
  const deadlines = new Deadlines();
  const [doomed] = addAll(deadlines, 10);
  const order: string[] = [];
  const next = new Entry(15, () => order.push("next"));
  const now = new Entry(5, () => order.push("now"));
  const first = new Entry(10, () => {
    order.push("first");
    if (doomed) deadlines.remove(doomed);
    deadlines.add(next);
    deadlines.add(now);
  });
  if (doomed) deadlines.remove(doomed);
  deadlines.add(first);
  if (doomed) deadlines.add(doomed);
  jest.advanceTimersByTime(10);
  expect(order).toEqual(["first", "now"]);
  jest.advanceTimersByTime(5);
  expect(order).toEqual(["first", "now", "next"]);
  expect(doomed?.ends).toEqual([]);
});

it("waits for longer than a timer of Node can", () => {
  const deadlines = new Deadlines();
  const [entry] = addAll(deadlines, 2 * longestTimerMs + 500);
  jest.advanceTimersByTime(longestTimerMs);
  expect(entry?.ends).toEqual([]);
  expect(jest.getTimerCount()).toBe(1);
  jest.advanceTimersByTime(longestTimerMs + 499);
  expect(entry?.ends).toEqual([]);
  jest.advanceTimersByTime(1);
  expect(entry?.ends).toEqual([undefined]);
});

it("never expires what is due at Infinity, and keeps no timer for it", () => {
  const deadlines = new Deadlines();
  const [entry] = addAll(deadlines, Infinity);
  expect(deadlines.size).toBe(0);
  expect(jest.getTimerCount()).toBe(0);
  if (entry) deadlines.remove(entry);
  deadlines.end(new Error("closed"));
  expect(entry?.ends).toEqual([]);
});

it("ends all of them at once, with the reason, and leaves no timer", () => {
  const deadlines = new Deadlines();
  const entries = addAll(deadlines, 10, longestTimerMs * 3, 5);
  const reason = new Error("closed");
  deadlines.end(reason);
  expect(entries.map(({ ends }) => ends)).toEqual([[reason], [reason], [reason]]);
  expect(deadlines.size).toBe(0);
  expect(jest.getTimerCount()).toBe(0);
});

it("ends what is added after the end at once, but not within the call", async () => {
  const deadlines = new Deadlines();
  const reason = new Error("closed");
  deadlines.end(reason);
  const [entry, removed] = addAll(deadlines, 10, 20);
  if (removed) deadlines.remove(removed);
  expect(entry?.ends).toEqual([]);
  await Promise.resolve();
  expect([entry?.ends, removed?.ends]).toEqual([[reason], []]);
  expect(jest.getTimerCount()).toBe(0);
});

type Step = { readonly addInQuarters: number } | { readonly remove: number } | { readonly advanceMs: number };

it("does as a sorted list would, whatever is added and removed", () => {
  const anyStep: fc.Arbitrary<Step> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ addInQuarters: fc.integer({ min: -8, max: 400 }) }) },
    { weight: 3, arbitrary: fc.record({ remove: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ advanceMs: fc.nat(30) }) },
  );
  const property = fc.property(fc.array(anyStep, { maxLength: 200, size: "max" }), (steps) => {
    const deadlines = new Deadlines();
    const expired: Entry[] = [];
    let list: Entry[] = [];
    for (const step of steps) {
      if ("addInQuarters" in step) {
        const entry = new Entry(step.addInQuarters / 4, (each) => expired.push(each));
        deadlines.add(entry);
        list.push(entry);
      } else if ("remove" in step) {
        const [entry] = list.splice(step.remove % Math.max(list.length, 1), 1);
        if (entry !== undefined) deadlines.remove(entry);
      } else {
        expired.length = 0;
        jest.advanceTimersByTime(step.advanceMs);
        const due = list.filter(({ dueAt }) => dueAt <= performance.now());
        list = list.filter((entry) => !due.includes(entry));
        expect(expired.map(({ dueAt }) => dueAt)).toEqual(due.map(({ dueAt }) => dueAt).toSorted((a, b) => a - b));
        expect(new Set(expired)).toEqual(new Set(due));
      }
      expect(deadlines.size).toBe(list.length);
      expect(jest.getTimerCount()).toBe(list.length > 0 ? 1 : 0);
    }
    const reason = new Error("closed");
    deadlines.end(reason);
    expect(list.every(({ ends }) => ends.length === 1 && ends[0] === reason)).toBe(true);
  });
  fc.assert(property, { numRuns: 200 });
});

describe("a call", () => {
  const late = (): Error => new Error("too late");

  it("resolves with what it is given, and leaves the deadlines", async () => {
    const deadlines = new Deadlines();
    const call = new Call<string>(deadlines, 1_000, late);
    expect(deadlines.size).toBe(1);
    call.resolve("value");
    expect(deadlines.size).toBe(0);
    await expect(call.promise).resolves.toBe("value");
  });

  it("rejects with what it is given, and leaves the deadlines", async () => {
    const deadlines = new Deadlines();
    const call = new Call<string>(deadlines, 1_000, late);
    const error = new Error("refused");
    call.reject(error);
    expect(deadlines.size).toBe(0);
    await expect(call.promise).rejects.toBe(error);
  });

  it("rejects when it is not settled in time, with an error that is made only then", async () => {
    const deadlines = new Deadlines();
    const makeLate = jest.fn(late);
    const call = new Call<string>(deadlines, 1_000, makeLate);
    const outcome = expect(call.promise).rejects.toThrow("too late");
    jest.advanceTimersByTime(999);
    expect(makeLate).not.toHaveBeenCalled();
    jest.advanceTimersByTime(1);
    await outcome;
    expect(makeLate).toHaveBeenCalledTimes(1);
    expect(deadlines.size).toBe(0);
  });

  it("rejects with the reason when everything ends early", async () => {
    const deadlines = new Deadlines();
    const makeLate = jest.fn(late);
    const calls = [new Call(deadlines, 1_000, makeLate), new Call(deadlines, 2_000, makeLate)];
    const reason = new Error("closed");
    const outcomes = Promise.allSettled(calls.map(({ promise }) => promise));
    deadlines.end(reason);
    expect(await outcomes).toEqual(calls.map(() => ({ status: "rejected", reason })));
    expect(makeLate).not.toHaveBeenCalled();
  });

  it("stays as it was first settled", async () => {
    const deadlines = new Deadlines();
    const call = new Call<string>(deadlines, 1_000, late);
    call.resolve("first");
    call.resolve("second");
    call.reject(new Error("third"));
    call.expire();
    await expect(call.promise).resolves.toBe("first");
  });

  it("may be settled after it has expired, which changes nothing", async () => {
    const deadlines = new Deadlines();
    const call = new Call<string>(deadlines, 10, late);
    const outcome = expect(call.promise).rejects.toThrow("too late");
    jest.advanceTimersByTime(10);
    call.resolve("value");
    await outcome;
  });

  it("does not outlive its promise among the deadlines of others", async () => {
    const deadlines = new Deadlines();
    const calls = Array.from({ length: 100 }, (_, index) => new Call<number>(deadlines, 100 + index, late));
    calls.forEach((call, index) => call.resolve(index));
    expect(deadlines.size).toBe(0);
    await expect(Promise.all(calls.map(({ promise }) => promise))).resolves.toHaveLength(100);
  });

  it("never rejects by itself where its time is unlimited", async () => {
    const deadlines = new Deadlines();
    const call = new Call<string>(deadlines, Infinity, late);
    jest.advanceTimersByTime(2 ** 40);
    call.resolve("at last");
    await expect(call.promise).resolves.toBe("at last");
  });
});

describe("a signal", () => {
  it("ends its entries when it aborts, and has one listener until the last of them leaves", () => {
    const deadlines = new Deadlines();
    const controller = new AbortController();
    const { signal } = controller;
    const entries = [10, 20, Infinity].map((ms) => Object.assign(new Entry(ms), { signal }));
    for (const entry of entries) deadlines.add(entry);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    jest.advanceTimersByTime(10);
    expect(endsOf(entries)).toEqual([1, 0, 0]);
    controller.abort("left");
    expect(entries.map(({ ends }) => ends)).toEqual([[undefined], ["left"], ["left"]]);
    expect(deadlines.size).toBe(0);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });

  it("is let go of by a call that is settled", async () => {
    const deadlines = new Deadlines();
    const { signal } = new AbortController();
    const call = new Call<string>(deadlines, 1_000, () => new Error("too late"), signal);
    expect(getEventListeners(signal, "abort")).toHaveLength(1);
    call.resolve("value");
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    await expect(call.promise).resolves.toBe("value");
  });
});
