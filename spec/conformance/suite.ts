import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Observable } from "rxjs";
import type { GroupBackend, ResultBackend } from "kojin-postgres";
import { eventually } from "./eventually";

/** The subject of the suite: results and groups. */
export type ConformingBackend = ResultBackend & GroupBackend;

/** Specs by their titles. */
export type Specs = Readonly<Record<string, (suite: Suite) => Promise<void>>>;

/** The items that a stream has emitted, and how it ended. */
export interface Collected<T> {
  readonly seen: readonly T[];
  /** Resolves with `'completed'`, or with the error. */
  readonly ended: Promise<unknown>;
  stop(): void;
}

/** Longest wait for something that has to arrive, in milliseconds. */
export const longMs = 20_000;

/** The backends and ids of one spec. Ids are unique, so that specs and runs can share a database. */
export class Suite {
  readonly #openBackend: () => Promise<ConformingBackend>;
  readonly #prefix = randomUUID();
  readonly #opened: ConformingBackend[] = [];

  constructor(openBackend: () => Promise<ConformingBackend>) {
    this.#openBackend = openBackend;
  }

  /** Opens another backend on the same storage, which is closed after the spec. */
  async open(): Promise<ConformingBackend> {
    const backend = await this.#openBackend();
    this.#opened.push(backend);
    return backend;
  }

  async openTwo(): Promise<[ConformingBackend, ConformingBackend]> {
    return [await this.open(), await this.open()];
  }

  async openSome(count: number): Promise<readonly ConformingBackend[]> {
    return Promise.all(Array.from({ length: count }, async () => this.open()));
  }

  /** An id that no other spec and no other run uses. */
  id(name: string): string {
    return `${this.#prefix} ${name}`;
  }

  isOwn(id: string): boolean {
    return id.startsWith(this.#prefix);
  }

  async close(): Promise<void> {
    for (const backend of this.#opened.splice(0)) {
      await backend.close();
      await assertReleased(backend);
    }
  }
}

/** Subscribes to a stream and collects its items. */
export function collect<T>(stream$: Observable<T>): Collected<T> {
  const seen: T[] = [];
  let stop = (): void => undefined;
  const ended = new Promise<unknown>((resolve) => {
    const subscription = stream$.subscribe({
      next: (value) => seen.push(value),
      error: resolve,
      complete: () => resolve("completed"),
    });
    stop = () => subscription.unsubscribe();
  });
  return { seen, ended, stop };
}

/** Gives the error that a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => assert.fail(`It resolved, with ${JSON.stringify(value)}.`),
    (reason: unknown) => reason,
  );
}

/** Asserts that a stream ends with an error that has the given properties. */
export async function assertEndsWith(
  stream: Collected<unknown>,
  expected: Readonly<Record<string, unknown>>,
): Promise<void> {
  const end = await stream.ended;
  assert.ok(end instanceof Error, `expected an error, got ${String(end)}`);
  for (const [property, value] of Object.entries(expected))
    assert.equal((end as unknown as Record<string, unknown>)[property], value);
}

/** Returns true if a promise is still pending after everything due has run. */
export async function isPending(promise: Promise<unknown>, after: Promise<unknown>): Promise<boolean> {
  let isSettled = false;
  const note = (): void => void (isSettled = true);
  promise.then(note, note);
  await after;
  return !isSettled;
}

/** Asserts that a backend holds no waiters. Backends without such a count pass. */
export async function assertReleased(backend: ConformingBackend): Promise<void> {
  const { stats } = backend as { stats?: unknown };
  if (typeof stats !== "function") return;
  await eventually(() => {
    const { waiting = 0 } = stats.call(backend) as { readonly waiting?: number };
    assert.equal(waiting, 0, `somebody still waits for ${waiting} key(s)`);
  });
}
