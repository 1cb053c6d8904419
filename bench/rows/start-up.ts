import type { Bench } from "../bench";
import { WorkerProcess } from "../processes";
import type { Row } from "../row";
import type { Sample } from "../sample";
import type { StartingTasks } from "../workers/starting";

/** Time from loaded modules to confirmed LISTEN in a new process. */
export const startUp: Row = {
  name: "start-up: connect and ready, first in its process",
  reference: "connect and LISTEN with pg alone",
  unit: "ms",
  prepare: (bench) => ({
    ours: async () => start(bench, "ours"),
    reference: async () => start(bench, "bare"),
  }),
};

async function start(bench: Bench, what: "ours" | "bare"): Promise<Sample> {
  using worker = new WorkerProcess<StartingTasks>("starting");
  return { value: await worker.call(what, bench.url) };
}
