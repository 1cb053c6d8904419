import { setImmediate as turn } from "node:timers/promises";
import { Router, type WakeCause, type Watcher } from "../../lib/waiting/router";

/** Notes down what it is told. */
class Witness implements Watcher<string> {
  readonly beganAt = 0;
  readonly seen: [string, WakeCause][] = [];
  readonly errors: Error[] = [];
  onNext: () => void = () => undefined;

  constructor(readonly key: string) {}

  next(value: string, cause: WakeCause): void {
    this.seen.push([value, cause]);
    this.onNext();
  }

  error(error: Error): void {
    this.errors.push(error);
    this.onNext();
  }
}

function addAll(router: Router<string>, ...keys: string[]): Witness[] {
  const witnesses = keys.map((key) => new Witness(key));
  for (const witness of witnesses) router.add(witness);
  return witnesses;
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.finally(() => (settled = true));
  await turn();
  return settled;
}

describe("watchers", () => {
  it("release a key when the last of them is removed", () => {
    const router = new Router<string>();
    const released: string[] = [];
    router.released$.subscribe((key) => released.push(key));
    const [first, second, other] = addAll(router, "a", "a", "b");
    if (first === undefined || second === undefined || other === undefined) throw new Error("unreachable");
    router.remove(first);
    router.remove(first);
    expect(released).toEqual([]);
    router.remove(second);
    router.remove(other);
    expect(released).toEqual(["a", "b"]);
  });

  it("are told what happens under their key, and what brought it", () => {
    const router = new Router<string>();
    const [a, b] = addAll(router, "a", "b");
    router.next("a", "one", "read");
    router.next("a", "two", "notification");
    expect(a?.seen).toEqual([
      ["one", "read"],
      ["two", "notification"],
    ]);
    expect(b?.seen).toEqual([]);
  });

  it("of the same key are all told, in the order in which they came", () => {
    const router = new Router<string>();
    const order: number[] = [];
    addAll(router, "a", "a", "a").forEach((witness, index) => (witness.onNext = () => order.push(index)));
    router.next("a", "value", "sweep");
    expect(order).toEqual([0, 1, 2]);
  });

  it("hear an error of their key, and of no other", () => {
    const router = new Router<string>();
    const [a, also, b] = addAll(router, "a", "a", "b");
    const error = new Error("denied");
    router.error("a", error);
    expect([a, also, b].map((witness) => witness?.errors)).toEqual([[error], [error], []]);
  });

  it("stay until they are removed", () => {
    const router = new Router<string>();
    const [a, also] = addAll(router, "a", "a");
    router.next("a", "one", "read");
    if (a) router.remove(a);
    router.next("a", "two", "read");
    expect([a?.seen.length, also?.seen.length]).toEqual([1, 2]);
    expect(router.has("a")).toBe(true);
  });

  it("are all told, even if each leaves as it is served", () => {
    const router = new Router<string>();
    const witnesses = addAll(router, "a", "a", "a");
    for (const witness of witnesses) witness.onNext = () => router.remove(witness);
    router.next("a", "value", "read");
    expect(witnesses.map(({ seen }) => seen.length)).toEqual([1, 1, 1]);
    expect(router.size).toBe(0);
  });

  it("that come while others are served are told from the next value on", () => {
    const router = new Router<string>();
    const late = new Witness("a");
    for (const witness of addAll(router, "a", "a")) witness.onNext = () => router.add(late);
    router.next("a", "one", "read");
    expect(late.seen).toEqual([]);
    router.next("a", "two", "read");
    expect(late.seen).toEqual([["two", "read"]]);
  });

  it("that are added twice are told once if the key has others", () => {
    const router = new Router<string>();
    const [a] = addAll(router, "a", "a");
    if (a) router.add(a);
    router.next("a", "value", "read");
    expect(a?.seen).toHaveLength(1);
  });
});

describe("keys", () => {
  it("are there exactly as long as they are watched", () => {
    const router = new Router<string>();
    const [a, also, b] = addAll(router, "a", "a", "b");
    expect([...router.keys()]).toEqual(["a", "b"]);
    expect(router.size).toBe(2);
    if (a) router.remove(a);
    expect(router.has("a")).toBe(true);
    if (also) router.remove(also);
    expect(router.has("a")).toBe(false);
    if (b) router.remove(b);
    expect(router.size).toBe(0);
  });

  it("are left alone by the removal of a watcher who is not there", () => {
    const router = new Router<string>();
    const [a] = addAll(router, "a");
    router.remove(new Witness("a"));
    router.remove(new Witness("b"));
    expect([...router.keys()]).toEqual(["a"]);
    if (a) router.remove(a);
    if (a) router.remove(a);
    expect(router.size).toBe(0);
  });

  it("may be any text", () => {
    const router = new Router<string>();
    const keys = ["__proto__", "constructor", "", " ", "a:b"];
    const witnesses = addAll(router, ...keys);
    for (const key of keys) router.next(key, key, "read");
    expect(witnesses.map(({ seen }) => seen)).toEqual(keys.map((key) => [[key, "read"]]));
  });

  it("that are not watched cost nothing", () => {
    const router = new Router<string>();
    router.next("a", "value", "read");
    router.error("a", new Error("not heard"));
    expect(router.has("a")).toBe(false);
    expect(router.size).toBe(0);
  });
});

describe("an error for all", () => {
  it("reaches every watcher of every key", () => {
    const router = new Router<string>();
    const witnesses = addAll(router, "a", "a", "b", "c");
    for (const witness of witnesses) witness.onNext = () => router.remove(witness);
    const error = new Error("closed");
    router.close(error);
    expect(witnesses.map(({ errors }) => errors)).toEqual([[error], [error], [error], [error]]);
    expect(router.size).toBe(0);
  });
});

describe("draining", () => {
  it("is done at once if nothing is watched", async () => {
    await expect(new Router().drain()).resolves.toBeUndefined();
  });

  it("is done for all who asked when the last watcher has left", async () => {
    const router = new Router<string>();
    const [a, b] = addAll(router, "a", "b");
    const drained = Promise.all([router.drain(), router.drain()]);
    if (a) router.remove(a);
    expect(await isSettled(drained)).toBe(false);
    if (b) router.remove(b);
    expect(await isSettled(drained)).toBe(true);
  });
});
