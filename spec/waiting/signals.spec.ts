import { runInNewContext } from "node:vm";
import { firstValueFrom } from "rxjs";
import { z } from "zod";
import { MemoryResultBackend, type ResultBackend } from "kojin-postgres";
import { respond } from "kojin-postgres/http";
import { specDatabase } from "../support/spec-database";

type Listener = () => void;

/** A signal of another class, as a polyfill has it: without `throwIfAborted`, and often without a reason. */
class ForeignSignal {
  aborted = false;
  reason: unknown;
  readonly listeners = new Set<Listener>();

  addEventListener(_type: string, listener: Listener): void {
    this.listeners.add(listener);
  }

  removeEventListener(_type: string, listener: Listener): void {
    this.listeners.delete(listener);
  }

  abort(reason?: unknown): void {
    [this.aborted, this.reason] = [true, reason];
    for (const listener of [...this.listeners]) listener();
  }

  get asSignal(): AbortSignal {
    return this as unknown as AbortSignal;
  }
}

const database = specDatabase("signals");

describe.each([
  ["PostgresResultBackend", async (): Promise<ResultBackend> => database.open()],
  ["MemoryResultBackend", async (): Promise<ResultBackend> => Promise.resolve(new MemoryResultBackend())],
])("%s takes a signal that is no AbortSignal of this realm", (_name, open) => {
  let backend: ResultBackend;
  beforeEach(async () => (backend = await open()));
  afterEach(() => backend.close());
  const waits = (signal: AbortSignal): Promise<unknown>[] => {
    const options = { timeoutMs: 30_000, signal };
    return [
      backend.wait("t", options),
      backend.waitSettled("t", options),
      backend.waitGroup("g", options),
      backend.wait("t", { ...options, schema: z.unknown() }),
    ];
  };

  it("which aborts", async () => {
    const signal = new ForeignSignal();
    const waiting = waits(signal.asSignal);
    await Promise.resolve();
    expect(signal.listeners.size).toBeGreaterThan(0);
    signal.abort("left");
    for (const each of waiting) await expect(each).rejects.toBe("left");
    expect(signal.listeners.size).toBe(0);
    for (const each of waits(signal.asSignal)) await expect(each).rejects.toBe("left");
  });

  it("which aborts without a reason", async () => {
    const signal = new ForeignSignal();
    const waiting = waits(signal.asSignal);
    signal.abort();
    for (const each of waiting) await expect(each).rejects.toMatchObject({ name: "AbortError" });
    const response = respond(backend, "t", { waitMs: 30_000, signal: signal.asSignal });
    expect((await response).status).toBe(499);
  });

  it("which is let go of when there is a result", async () => {
    const signal = new ForeignSignal();
    const waiting = backend.wait("done", { timeoutMs: 30_000, signal: signal.asSignal });
    await backend.store("done", 1);
    await expect(waiting).resolves.toBe(1);
    expect(signal.listeners.size).toBe(0);
  });

  it("of a vm context", async () => {
    const controller = runInNewContext(
      `class Signal extends EventTarget { aborted = false; reason = undefined }
       const signal = new Signal();
       ({ signal, abort(reason) { signal.aborted = true; signal.reason = reason; signal.dispatchEvent(new Event("abort")); } })`,
      { EventTarget, Event },
    ) as { signal: AbortSignal; abort(reason: unknown): void };
    const waiting = backend.wait("t", { timeoutMs: 30_000, signal: controller.signal });
    controller.abort("gone");
    await expect(waiting).rejects.toBe("gone");
  });

  it.each([{}, { aborted: false }, "abort", 1, null, () => undefined, new EventTarget()])(
    "and refuses what cannot be used as one: %p",
    async (signal) => {
      const waiting = backend.wait("t", { timeoutMs: 1, signal: signal as AbortSignal });
      await expect(waiting).rejects.toThrow(/^signal: expected an AbortSignal, got /);
    },
  );

  it("and errors, promises and arrays of other realms", async () => {
    await backend.fail("failed", runInNewContext('new RangeError("far away")'));
    await expect(backend.wait("failed", 0)).rejects.toMatchObject({
      failure: { name: "RangeError", message: "far away" },
    });
    await backend.initGroup("far", runInNewContext('["a", "b"]') as string[]);
    await backend.completeGroupMember("far", "a", runInNewContext("({ at: new Date(0) })"));
    await backend.completeGroupMember("far", "b", 2);
    expect(await firstValueFrom(backend.groupResults$("far"))).toEqual([{ at: "1970-01-01T00:00:00.000Z" }, 2]);
  });
});

it("refuses a codec that gives a promise of another realm", async () => {
  const codec = { encode: () => runInNewContext("Promise.resolve(1)") as unknown, decode: (json: unknown) => json };
  const backend = new MemoryResultBackend({ codec });
  await expect(backend.store("t", 1)).rejects.toThrow("the codec returned a promise");
});
