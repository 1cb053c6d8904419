// npx jest examples/recipes/jest
//
// Specs, without a database, of code that awaits results: `MemoryResultBackend` has the same contract, and the spec
// plays the worker.

import { MemoryResultBackend } from "kojin-postgres";
import { Checkout, type Queue } from "./checkout";

describe("the checkout", () => {
  let results: MemoryResultBackend;

  beforeEach(() => {
    results = new MemoryResultBackend();
  });

  afterEach(async () => {
    jest.useRealTimers();
    // A wait that is still open is a leak in the code under test.
    expect(results.stats()).toEqual({ waiting: 0 });
    await results.close();
  });

  /** A queue whose worker is given here. */
  const queueOf = (work: (worker: MemoryResultBackend, taskId: string) => Promise<void>): Queue => {
    // Another backend on the same results, as a worker in its own process would have one.
    const worker = results.view();
    return {
      enqueue(taskId) {
        setImmediate(() => void work(worker, taskId));
        return Promise.resolve();
      },
    };
  };

  it("gives the receipt that the worker stores", async () => {
    const queue = queueOf(async (worker, taskId) => worker.store(taskId, { receipt: `receipt of ${taskId}` }));
    const paid = await new Checkout(results, queue).pay("42", 10);
    expect(paid).toEqual({ state: "paid", receipt: "receipt of charge:42" });
  });

  it("tells why a card was declined", async () => {
    const queue = queueOf(async (worker, taskId) => worker.fail(taskId, new Error("the card has expired")));
    const declined = await new Checkout(results, queue).pay("43", 10);
    expect(declined).toEqual({ state: "declined", reason: "the card has expired" });
  });

  it("says that a payment is pending after ten seconds, and does not take ten seconds to show it", async () => {
    jest.useFakeTimers();
    const paying = new Checkout(results, { enqueue: () => Promise.resolve() }).pay("44", 10);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(await paying).toEqual({ state: "pending", taskId: "charge:44" });
  });
});
