import { setImmediate as nextTurn } from "node:timers/promises";
import { type ConnectionOptions, Queue, QueueEvents, Worker } from "bullmq";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";

const queueName = "bench";
/** Jobs per command. */
const bulkSize = 1_000;

/**
 * Jobs that are already in the queue, processed by one worker that only returns the result, with `waitUntilFinished`
 * for each.
 */
export const bullmq: Technique = {
  async createStoring(settings: TechniqueSettings): Promise<Storing> {
    let result: unknown;
    const worker = new Worker(queueName, () => Promise.resolve(result), {
      connection: connectionOf(settings),
      autorun: false,
    });
    await worker.waitUntilReady();
    return {
      store: () => Promise.reject(new Error("A job of BullMQ is finished by its worker.")),
      storeAll: async (taskIds, lanes, value) => {
        result = value;
        worker.concurrency = lanes;
        const finished = new Promise<void>((resolve) => {
          let open = taskIds.length;
          worker.removeAllListeners("completed").on("completed", () => {
            open -= 1;
            if (open === 0) resolve();
          });
        });
        if (worker.isPaused()) void worker.resume();
        else void worker.run();
        await finished;
        // Otherwise the worker would begin as soon as the next jobs are in the queue.
        await worker.pause();
      },
      close: async () => worker.close(),
    };
  },

  async createWaiting(settings: TechniqueSettings): Promise<Waiting> {
    const connection = connectionOf(settings);
    // The default keeps some 10 000 events. With 30 000 jobs, a waiter that falls behind misses some, and those waits
    // never end.
    const queue = new Queue(queueName, { connection, streams: { events: { maxLen: 1_000_000 } } });
    const events = new QueueEvents(queueName, { connection });
    // One listener per wait.
    for (const emitter of [queue, events]) emitter.setMaxListeners(0);
    await events.waitUntilReady();
    return {
      open: async (taskIds, onResult) => {
        for (let first = 0; first < taskIds.length; first += bulkSize) {
          const bulk = taskIds.slice(first, first + bulkSize);
          const jobs = await queue.addBulk(bulk.map((taskId) => ({ name: taskId, data: {}, opts: { jobId: taskId } })));
          jobs.forEach((job, index) => void job.waitUntilFinished(events).then(() => onResult(first + index)));
        }
        await nextTurn();
        // Each wait begins with a command on this connection, so the answer to a later command comes after theirs.
        await queue.getJobCounts();
      },
      close: async () => {
        await events.close();
        await queue.obliterate({ force: true });
        await queue.close();
      },
    };
  },
};

function connectionOf({ redisPort }: TechniqueSettings): ConnectionOptions {
  if (redisPort === undefined) throw new TypeError("redisPort: expected the port of a server, got none.");
  return { host: "127.0.0.1", port: redisPort, maxRetriesPerRequest: null };
}
