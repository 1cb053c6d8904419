import { randomUUID } from "node:crypto";
import * as bullMq6 from "bullmq";
import * as bullMq5 from "bullmq5";
import { MemoryResultBackend } from "kojin-postgres";
import { bullMqProcessor, graphileTask, pgBossHandler, runTask } from "kojin-postgres/queues";

describe("runTask", () => {
  const backend = new MemoryResultBackend();
  const broken = new RangeError("broken");
  const fails = (): never => {
    throw broken;
  };
  afterAll(async () => backend.close());

  it("stores the result and resolves with it", async () => {
    expect(await runTask(backend, "result", () => ({ a: 1 }), { attempt: 3, maxAttempts: 3 })).toEqual({ a: 1 });
    expect(await backend.get("result")).toEqual({ a: 1 });
  });

  it("rejects with the error of the task, and stores it after the last attempt alone", async () => {
    for (const [attempt, maxAttempts, isStored] of [
      [1, 2, false],
      [1, Infinity, false],
      [2, 2, true],
      [3, 2, true],
    ] as const) {
      const id = `${attempt} of ${maxAttempts}`;
      await expect(runTask(backend, id, fails, { attempt, maxAttempts })).rejects.toBe(broken);
      const outcome = await backend.getSettled(id);
      expect(outcome?.status).toBe(isStored ? "rejected" : undefined);
    }
  });

  it("stores no failure if the result cannot be stored", async () => {
    const running = runTask(backend, "unstorable", () => 1n, { attempt: 1, maxAttempts: 1 });
    await expect(running).rejects.toMatchObject({ name: "ResultEncodingError" });
    expect(await backend.getSettled("unstorable")).toBeUndefined();
  });

  it("rejects with both errors if the failure cannot be stored", async () => {
    const closed = new MemoryResultBackend();
    await closed.close();
    const running = runTask(closed, "lost", fails, { attempt: 1, maxAttempts: 1 });
    await expect(running).rejects.toMatchObject({ errors: [broken, { name: "BackendClosedError" }] });
  });

  it("keeps the first result, and for as long as it is told", async () => {
    jest.useFakeTimers();
    try {
      const options = { attempt: 1, maxAttempts: 1, onConflict: "keep", ttlMs: 1_000 } as const;
      await runTask(backend, "kept", () => "first", options);
      await runTask(backend, "kept", () => "second", options);
      expect(await backend.get("kept")).toBe("first");
      jest.advanceTimersByTime(1_001);
      expect(await backend.get("kept")).toBeUndefined();
    } finally {
      jest.useRealTimers();
    }
  });

  it.each([
    ["", 1, 1],
    ["t", 0, 1],
    ["t", 1, 0],
    ["t", 1.5, 2],
    ["t", NaN, 2],
  ])("refuses the id %j, attempt %p of %p before the task runs", async (id, attempt, maxAttempts) => {
    const work = jest.fn();
    await expect(runTask(backend, id, work, { attempt, maxAttempts })).rejects.toThrow(RangeError);
    expect(work).not.toHaveBeenCalled();
  });

  it("refuses an option that it does not have before the task runs", async () => {
    const work = jest.fn();
    const options = { attempt: 1, maxAttempts: 1, onconflict: "keep" };
    await expect(runTask(backend, "t", work, options)).rejects.toThrow("onconflict: unknown option.");
    expect(work).not.toHaveBeenCalled();
  });

  it("needs the metadata of pg-boss", async () => {
    const handler = pgBossHandler(backend, fails);
    await expect(handler([{ id: "t" } as never])).rejects.toThrow("includeMetadata: true");
  });

  it("runs all jobs of a batch, and rejects if one fails", async () => {
    const work = ({ id }: { id: string }): string => (id === "second" ? fails() : id);
    const jobs = ["first", "second", "third"].map((id) => ({ id, retryCount: 2, retryLimit: 2 }));
    await expect(pgBossHandler(backend, work)(jobs)).rejects.toBe(broken);
    expect(await backend.getSettled("third")).toEqual({ status: "fulfilled", value: "third" });
    expect(await backend.getSettled("second")).toMatchObject({ status: "rejected" });
    expect(await pgBossHandler(backend, work)(jobs.slice(0, 1))).toBe("first");
  });

  it("takes ids from where it is told", async () => {
    await pgBossHandler(backend, () => 1, { taskId: ({ id }) => `boss:${id}` })([
      { id: "a", retryCount: 0, retryLimit: 0 },
    ]);
    const helpers = { job: { attempts: 1, max_attempts: 1 } };
    await graphileTask(backend, () => 2, { taskId: (payload: { key: string }) => payload.key })({ key: "g" }, helpers);
    await bullMqProcessor(backend, () => 3, { taskId: () => "b" })({ attemptsMade: 0, opts: {} });
    expect(await Promise.all(["boss:a", "g", "b"].map(async (id) => backend.get(id)))).toEqual([1, 2, 3]);
  });

  describe.each([
    ["5", bullMq5],
    ["6", bullMq6],
  ])("the errors of BullMQ %s", (version, bullMq) => {
    /** Returns the outcome that is stored if an attempt throws `error`. */
    const storedFor = async (error: unknown, attempts: number): Promise<string | undefined> => {
      const id = randomUUID();
      const processor = bullMqProcessor(backend, () => {
        throw error;
      });
      await expect(processor({ id, attemptsMade: 0, opts: { attempts } })).rejects.toBe(error);
      return (await backend.getSettled(id))?.status;
    };

    it("are final if they are unrecoverable, also of a subclass or by their name alone", async () => {
      class InvalidOrder extends bullMq.UnrecoverableError {}
      class NoAddress extends InvalidOrder {}
      const named = Object.assign(new Error("named"), { name: "UnrecoverableError" });
      const errors = [new bullMq.UnrecoverableError(), new InvalidOrder("no"), new NoAddress("no"), named];
      for (const error of errors) expect([error, await storedFor(error, 3)]).toEqual([error, "rejected"]);
      for (const error of [broken, "text", null, Object.create(null)])
        expect([error, await storedFor(error, 3)]).toEqual([error, undefined]);
    });

    it("are no failures of the last attempt if they move the job back to the queue, also of a subclass", async () => {
      class Later extends bullMq.DelayedError {}
      class TooFast extends bullMq.RateLimitError {}
      const { DelayedError, RateLimitError, WaitingChildrenError } = bullMq;
      for (const error of [new DelayedError(), new RateLimitError(), new WaitingChildrenError(), new Later("later")])
        expect([version, error, await storedFor(error, 1)]).toEqual([version, error, undefined]);
      for (const name of ["DelayedError", "WaitingError", "WaitingChildrenError"])
        expect([name, await storedFor({ name }, 1)]).toEqual([name, undefined]);
      expect(await storedFor(new TooFast(), 1)).toBeUndefined();
      // BullMQ recognises this error by its message alone.
      expect(await storedFor(new RateLimitError("by another message"), 1)).toBe("rejected");
    });
  });
});
