// A process with many open waits, started with --expose-gc.

import { setTimeout as sleep } from "node:timers/promises";
import { PostgresResultBackend } from "kojin-postgres";
import { serve } from "../processes";
import { taskIds, type TaskRange } from "../technique";
import { allOpen } from "../techniques/ours";

let backend: PostgresResultBackend | undefined;
const waits: Promise<unknown>[] = [];

const tasks = {
  /** Opens waits. Gives the bytes of heap that each holds, with its promise and without its id. */
  open: async ({ url, range }: { url: string; range: TaskRange }): Promise<number> => {
    const current = await PostgresResultBackend.connect(url);
    backend = current;
    const open = async (ids: readonly string[]): Promise<void> => {
      for (const taskId of ids) waits.push(current.wait(taskId, Infinity));
      await allOpen(current);
    };
    // Code that runs for the first time allocates memory that belongs to no wait.
    await open(["warm-up"]);
    const ids = taskIds(range);
    const before = heapBytes();
    await open(ids);
    return (heapBytes() - before) / ids.length;
  },

  /** Counts the statements sent within a time in which nothing is stored. */
  queriesIn: async (durationMs: number): Promise<number> => {
    const before = backend?.stats().queries ?? NaN;
    await sleep(durationMs);
    return (backend?.stats().queries ?? NaN) - before;
  },

  close: async (): Promise<void> => {
    const ended = Promise.allSettled(waits);
    await backend?.close();
    await ended;
  },
};

function heapBytes(): number {
  if (globalThis.gc === undefined) throw new Error("Run with --expose-gc.");
  for (let times = 0; times < 3; times += 1) globalThis.gc();
  return process.memoryUsage().heapUsed;
}

export type OpenWaitsTasks = typeof tasks;
serve(tasks);
