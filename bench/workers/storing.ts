// A process that stores.

import { setTimeout as sleep } from "node:timers/promises";
import { now } from "../clock";
import { serve } from "../processes";
import { resultOf, type Storing, taskIds, type TaskRange, type TechniqueSettings } from "../technique";
import { techniques } from "../techniques";

let storing: Storing | undefined;

const tasks = {
  connect: async (settings: TechniqueSettings): Promise<void> => {
    const technique = await techniques[settings.technique]();
    storing = await technique.createStoring(settings);
  },

  /** Stores all tasks with the given concurrency. Gives the times of the first call and the last confirmation. */
  storeAll: async ({ range, lanes }: { range: TaskRange; lanes: number }): Promise<[number, number]> => {
    const current = connected();
    const ids = taskIds(range);
    const result = resultOf(range.resultBytes);
    const startedAt = now();
    if (current.storeAll !== undefined) await current.storeAll(ids, lanes, result);
    else await storeInLanes(current, ids, lanes, result);
    return [startedAt, now()];
  },

  /** Stores one after the other, with pauses. Gives the time of each call. */
  storeOneByOne: async ({ range, pauseMs }: { range: TaskRange; pauseMs: number }): Promise<Float64Array> => {
    const current = connected();
    const result = resultOf(range.resultBytes);
    const startedAt = new Float64Array(range.count);
    for (const [index, taskId] of taskIds(range).entries()) {
      startedAt[index] = now();
      await current.store(taskId, result);
      await sleep(pauseMs);
    }
    return startedAt;
  },

  /** Microseconds of processor time used by this process. */
  cpuTime: (): number => process.cpuUsage().user + process.cpuUsage().system,

  close: async (): Promise<void> => {
    await storing?.close();
    storing = undefined;
  },
};

function connected(): Storing {
  if (storing === undefined) throw new Error("Not connected.");
  return storing;
}

async function storeInLanes(current: Storing, ids: readonly string[], lanes: number, result: unknown): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let taskId = ids[next++]; taskId !== undefined; taskId = ids[next++]) await current.store(taskId, result);
  };
  await Promise.all(Array.from({ length: Math.min(lanes, ids.length) }, lane));
}

export type StoringTasks = typeof tasks;
serve(tasks);
