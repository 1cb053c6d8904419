import { WorkerProcess } from "../processes";
import type { Contest, Row } from "../row";
import type { Bench } from "../bench";
import type { OpenWaitsTasks } from "../workers/open-waits";

/** Well below the interval of sweeps, 30 s, and of heartbeats, 10 s. */
const quietMs = 3_000;
const lanes = 256;

/** Memory that each open wait holds. */
const heapPerWait: Row = {
  name: "100 000 open waits: heap of each",
  unit: "B",
  target: { of: "ours", atMost: 1_536 },
  prepare: (bench) => withOpenWaits(bench, (worker, open) => open(worker)),
};

/** Statements that open waits send while nothing is stored. */
const queriesWhileWaiting: Row = {
  name: `100 000 open waits: queries in ${quietMs / 1_000} s between sweeps`,
  unit: "",
  target: { of: "ours", atMost: 0 },
  prepare: (bench) =>
    withOpenWaits(bench, async (worker, open) => {
      await open(worker);
      return worker.call("queriesIn", bench.size(quietMs, 1_000));
    }),
};

/** Processor time of the waiting process from opening to the last result, for many waits and for few. */
const costPerWait: Row = {
  name: "100 000 open waits: processor time for each in the waiting process",
  reference: {
    name: "5 000 open waits",
    description: "The library with 5 000 open waits at a time, several times in a row.",
    code: ["bench/rows/open-waits.ts", "costPerWait"],
  },
  unit: "µs",
  target: { of: "ratio", atMost: 1.5 },
  prepare: ({ crew, url, size }) => {
    const settings = { technique: "ours", url } as const;
    return {
      ours: async () => crew.costOfWaiting(settings, { tasks: size(100_000, 15_000), lanes }, 1),
      reference: async () => crew.costOfWaiting(settings, { tasks: 5_000, lanes }, size(10, 1)),
    };
  },
};

type Open = (worker: WorkerProcess<OpenWaitsTasks>) => Promise<number>;

function withOpenWaits(
  bench: Bench,
  measureOne: (worker: WorkerProcess<OpenWaitsTasks>, open: Open) => Promise<number>,
): Contest {
  const range = { prefix: "open", first: 0, count: bench.size(100_000, 15_000), resultBytes: 0 };
  return {
    ours: async () => {
      await bench.empty();
      // Each round has a new process, since the heap of an old one is fragmented.
      using worker = new WorkerProcess<OpenWaitsTasks>("open-waits", ["--expose-gc"]);
      const value = await measureOne(worker, async () => worker.call("open", { url: bench.url, range }));
      await worker.call("close");
      return { value };
    },
  };
}

export const openWaitRows: readonly Row[] = [heapPerWait, queriesWhileWaiting, costPerWait];
