import { TaskFailedError, WaitTimeoutError, type ResultBackend } from "kojin-postgres";

export interface Queue {
  enqueue(taskId: string, payload: unknown): Promise<void>;
}

export type Receipt =
  | { readonly state: "paid"; readonly receipt: string }
  | { readonly state: "declined"; readonly reason: string }
  | { readonly state: "pending"; readonly taskId: string };

/** Application code. It depends on the `ResultBackend` interface only. */
export class Checkout {
  readonly #results: ResultBackend;
  readonly #queue: Queue;

  constructor(results: ResultBackend, queue: Queue) {
    this.#results = results;
    this.#queue = queue;
  }

  /** Has a worker charge the card, and waits for the receipt for ten seconds. */
  async pay(orderId: string, amount: number): Promise<Receipt> {
    const taskId = `charge:${orderId}`;
    await this.#queue.enqueue(taskId, { amount });
    try {
      const { receipt } = await this.#results.wait<{ receipt: string }>(taskId, 10_000);
      return { state: "paid", receipt };
    } catch (error) {
      if (error instanceof TaskFailedError) return { state: "declined", reason: error.failure.message };
      if (error instanceof WaitTimeoutError) return { state: "pending", taskId };
      throw error;
    }
  }
}
