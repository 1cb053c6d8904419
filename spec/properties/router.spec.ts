import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { Observable, type Subscription } from "rxjs";
import { Router, type WakeCause, type Watcher } from "../../lib/waiting/router";

const causes: readonly WakeCause[] = ["read", "notification", "inline", "reconnect", "sweep", "deadline"];
const keys = ["a", "b", "c", "__proto__", ""];

/** A stream over the router, as waits are. */
const watch$ = (router: Router<number>, key: string): Observable<number> =>
  new Observable((subscriber) => {
    const watcher: Watcher<number> = {
      key,
      beganAt: 0,
      next: (value) => subscriber.next(value),
      error: (error) => subscriber.error(error),
    };
    router.add(watcher);
    return () => router.remove(watcher);
  });

/** Records what a watcher received from the router and what it should have received. */
class Witness implements Watcher<number> {
  readonly beganAt = 0;
  readonly told: unknown[] = [];
  readonly expected: unknown[] = [];

  constructor(
    readonly key: string,
    readonly onTold: () => void,
  ) {}

  next(value: number, cause: WakeCause): void {
    this.told.push([value, cause]);
    this.onTold();
  }

  error(error: Error): void {
    this.told.push(error);
    this.onTold();
  }
}

type Step =
  | { readonly do: "add" | "subscribe"; readonly key: string; readonly leavesWhenServed: boolean }
  | { readonly do: "remove"; readonly which: number }
  | { readonly do: "next"; readonly key: string; readonly value: number; readonly cause: WakeCause }
  | { readonly do: "error"; readonly key: string }
  | { readonly do: "close" | "drain" };

const anyKey = fc.constantFrom(...keys);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("add", "subscribe"),
      key: anyKey,
      leavesWhenServed: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("remove"), which: fc.nat() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("next"),
      key: anyKey,
      value: fc.nat(),
      cause: fc.constantFrom(...causes),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("error"), key: anyKey }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("close", "drain") }) },
);

interface Entry {
  readonly witness: Witness;
  readonly leavesWhenServed: boolean;
  readonly subscription: Subscription | undefined;
}

/** A router beside a plain map from keys to their watchers. */
class Model {
  readonly router = new Router<number>();
  readonly #entries = new Map<string, Entry[]>();
  readonly #witnesses: Witness[] = [];
  readonly #drains: { isDone: boolean; mayBeDone: boolean }[] = [];

  async take(step: Step): Promise<void> {
    if (step.do === "add" || step.do === "subscribe") this.#add(step);
    else if (step.do === "remove") this.#remove(step.which);
    else if (step.do === "next") {
      this.#tell([step.key], ({ subscription }) => [[step.value, subscription === undefined ? step.cause : undefined]]);
      this.router.next(step.key, step.value, step.cause);
    } else if (step.do === "drain") this.#drain();
    else {
      const error = new Error(step.do);
      const told = step.do === "error" ? [step.key] : [...this.#entries.keys()];
      this.#tell(told, () => [error], true);
      if (step.do === "error") this.router.error(step.key, error);
      else this.router.close(error);
    }
    await turn();
    this.#check();
  }

  #add({ do: how, key, leavesWhenServed }: Extract<Step, { leavesWhenServed: boolean }>): void {
    let leave = (): void => undefined;
    const witness = new Witness(key, () => {
      if (leavesWhenServed) leave();
    });
    this.#witnesses.push(witness);
    let subscription: Subscription | undefined;
    if (how === "add") {
      this.router.add(witness);
      leave = () => this.router.remove(witness);
    } else {
      const created = watch$(this.router, key).subscribe({
        // A stream has no cause.
        next: (value) => {
          witness.told.push([value, undefined]);
          witness.onTold();
        },
        error: (error: Error) => witness.error(error),
      });
      leave = () => created.unsubscribe();
      subscription = created;
    }
    this.#entries.set(key, [...(this.#entries.get(key) ?? []), { witness, leavesWhenServed, subscription }]);
  }

  #remove(which: number): void {
    const all = [...this.#entries.values()].flat();
    const entry = all[which % Math.max(all.length, 1)];
    if (entry === undefined) return;
    if (entry.subscription === undefined) this.router.remove(entry.witness);
    else entry.subscription.unsubscribe();
    this.#keep(entry.witness.key, (each) => each !== entry);
  }

  /** Records the expected deliveries, and the watchers that leave because of them: an error ends a stream. */
  #tell(toldKeys: readonly string[], what: (entry: Entry) => unknown[], isError = false): void {
    for (const key of toldKeys) {
      for (const entry of this.#entries.get(key) ?? []) entry.witness.expected.push(...what(entry));
      this.#keep(key, (entry) => !entry.leavesWhenServed && !(isError && entry.subscription !== undefined));
    }
  }

  #keep(key: string, stays: (entry: Entry) => boolean): void {
    const left = (this.#entries.get(key) ?? []).filter(stays);
    if (left.length > 0) this.#entries.set(key, left);
    else this.#entries.delete(key);
  }

  #drain(): void {
    const drain = { isDone: false, mayBeDone: this.#entries.size === 0 };
    this.#drains.push(drain);
    void this.router.drain().then(() => (drain.isDone = true));
  }

  #check(): void {
    expect([...this.router.keys()].toSorted()).toEqual([...this.#entries.keys()].toSorted());
    expect(this.router.size).toBe(this.#entries.size);
    for (const key of keys) expect(this.router.has(key)).toBe(this.#entries.has(key));
    for (const { told, expected } of this.#witnesses) expect(told).toEqual(expected);
    for (const drain of this.#drains) {
      drain.mayBeDone ||= this.#entries.size === 0;
      expect(drain.isDone).toBe(drain.mayBeDone);
    }
  }
}

describe("a router", () => {
  it("does as a map from keys to their watchers would, as watchers come and go", async () => {
    const property = fc.asyncProperty(fc.array(anyStep, { maxLength: 50, size: "max" }), async (steps) => {
      const model = new Model();
      for (const step of steps) await model.take(step);
    });
    await fc.assert(property, { numRuns: 200 });
  });
});
