// A process that waits.

import { now } from "../clock";
import { serve } from "../processes";
import { taskIds, type TaskRange, type TechniqueSettings, type Waiting } from "../technique";
import { techniques } from "../techniques";

let waiting: Waiting | undefined;
let ended: Promise<Float64Array> = Promise.resolve(new Float64Array());

const tasks = {
  connect: async (settings: TechniqueSettings): Promise<void> => {
    const technique = await techniques[settings.technique]();
    waiting = await technique.createWaiting(settings);
  },

  /** Resolves once all waits are open. */
  open: async (range: TaskRange): Promise<void> => {
    if (waiting === undefined) throw new Error("Not connected.");
    const endedAt = new Float64Array(range.count);
    let open = range.count;
    let resolve: (endedAt: Float64Array) => void;
    ended = new Promise((settle) => (resolve = settle));
    await waiting.open(taskIds(range), (index) => {
      endedAt[index] = now();
      open -= 1;
      if (open === 0) resolve(endedAt);
    });
  },

  /** When each wait ended, once all have. */
  ended: async (): Promise<Float64Array> => ended,

  /** Microseconds of processor time used by this process. */
  cpuTime: (): number => process.cpuUsage().user + process.cpuUsage().system,

  close: async (): Promise<void> => {
    await waiting?.close();
    waiting = undefined;
  },
};

export type WaitingTasks = typeof tasks;
serve(tasks);
