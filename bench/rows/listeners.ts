import { WorkerProcess } from "../processes";
import type { Row } from "../row";
import type { ListeningTasks } from "../workers/listening";

const lanes = 256;
const connectionsPerProcess = 10;

/** The share of a drain's rate that remains while other processes listen on the same channel. */
function listeners(others: number, atLeast?: number): Row {
  return {
    name: `30 000 open waits, ${others} other listening connection${others === 1 ? "" : "s"}`,
    reference: "no other",
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: ({ crew, url, size }) => {
      const processes = Array.from(
        { length: Math.ceil(others / connectionsPerProcess) },
        () => new WorkerProcess<ListeningTasks>("listening"),
      );
      const connections = others / processes.length;
      const settings = { technique: "ours", url } as const;
      const load = { tasks: size(30_000, 5_000), lanes };
      return {
        ours: async () => {
          await Promise.all(processes.map(async (worker) => worker.call("listen", { url, connections })));
          const drained = await crew.drain(settings, load);
          await Promise.all(processes.map(async (worker) => worker.call("close")));
          return drained;
        },
        reference: async () => crew.drain(settings, load),
        end: () => {
          for (const worker of processes) worker[Symbol.dispose]();
        },
      };
    },
  };
}

export const oneListener = listeners(1);
export const tenListeners = listeners(10);
export const fiftyListeners = listeners(50, 0.7);
