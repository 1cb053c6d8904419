import type { Bench } from "../bench";
import { WorkerProcess } from "../processes";
import { bare, bareStart, polling, redis } from "../references";
import type { Row } from "../row";
import type { Sample } from "../sample";
import type { StartingTasks } from "../workers/starting";

/** One result at a time, against the least that a wake-up by Postgres can cost. */
function latency(name: string, inlineResultBytes: number, atMost: number): Row {
  return {
    name,
    reference: bare,
    unit: "ms",
    target: { of: "ratio", atMost },
    prepare: ({ crew, url, size }) => {
      const tasks = size(500, 120);
      return {
        ours: async () => crew.latency({ technique: "ours", url, options: { inlineResultBytes } }, tasks),
        reference: async () => crew.latency({ technique: "bare", url }, tasks),
      };
    },
  };
}

const latencyAgainstPolling: Row = {
  name: "store → wait, one at a time, against polling",
  reference: polling,
  unit: "ms",
  prepare: ({ crew, url, size }) => {
    const tasks = size(100, 10);
    return {
      ours: async () => crew.latency({ technique: "ours", url }, tasks),
      reference: async () => crew.latency({ technique: "polling", url }, tasks),
    };
  },
};

/** The same with results of several sizes, against Redis. */
function latencyOfSize(name: string, resultBytes: number, tasks: readonly [full: number, quick: number]): Row {
  return {
    name: `store → wait, one at a time, ${name}`,
    reference: redis,
    unit: "ms",
    prepare: async (bench) => {
      const { crew, url, size } = bench;
      const { port: redisPort } = await bench.redis("none");
      const count = size(...tasks);
      return {
        ours: async () => crew.latency({ technique: "ours", url }, count, resultBytes),
        reference: async () => crew.latency({ technique: "redis", url, redisPort }, count, resultBytes),
      };
    },
  };
}

/** Time from loaded modules to confirmed LISTEN in a new process. */
const startUp: Row = {
  name: "start-up: connect and ready, first in its process",
  reference: bareStart,
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

export const latencyRows: readonly Row[] = [
  latency("store → wait, one at a time", 0, 1.6),
  latency("store → wait, one at a time, results inline", 4_000, 1.15),
  latencyAgainstPolling,
  latencyOfSize("100 B", 100, [300, 60]),
  latencyOfSize("10 KB", 10_000, [300, 60]),
  latencyOfSize("1 MB", 1_000_000, [60, 20]),
  startUp,
];
