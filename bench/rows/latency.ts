import type { Bench } from "../bench";
import { WorkerProcess } from "../processes";
import { bare, bareStart, bareWithRead, polling, redis } from "../references";
import type { Reference, Row } from "../row";
import type { Sample } from "../sample";
import type { StartingTasks } from "../workers/starting";

interface Floor {
  readonly reference: Reference;
  readonly technique: "bare" | "bare with read";
  readonly inlineResultBytes: number;
}

/** The least code that does the same work on Postgres. */
const withRead: Floor = { reference: bareWithRead, technique: "bare with read", inlineResultBytes: 0 };
const inline: Floor = { reference: bare, technique: "bare", inlineResultBytes: 4_000 };

interface Figure {
  readonly atMost: number;
  readonly tasks: readonly [full: number, quick: number];
  readonly of: (latency: Sample) => Sample;
}

const p50: Figure = { atMost: 1.15, tasks: [500, 120], of: (latency) => latency };
/** More tasks, since only a hundredth of them counts. */
const p99: Figure = { atMost: 1.5, tasks: [1_500, 200], of: (latency) => ({ value: latency.p99 ?? NaN }) };

/** One result at a time, against the least that a wake-up by Postgres can cost. */
function latency(name: string, { reference, technique, inlineResultBytes }: Floor, { atMost, tasks, of }: Figure): Row {
  return {
    name,
    reference,
    unit: "ms",
    target: { of: "ratio", atMost },
    prepare: ({ crew, url, size }) => {
      const count = size(...tasks);
      return {
        ours: async () => of(await crew.latency({ technique: "ours", url, options: { inlineResultBytes } }, count)),
        reference: async () => of(await crew.latency({ technique, url }, count)),
      };
    },
  };
}

/** The notification follows the commit. With one storing process that should cost no time. */
const deferredLatency: Row = {
  name: "store → wait, one at a time: 'deferred'",
  reference: {
    name: "'trigger'",
    description: "The library with the same load, where each commit notifies.",
    code: ["bench/rows/latency.ts", "deferredLatency"],
  },
  unit: "ms",
  target: { of: "ratio", atMost: 1.05 },
  prepare: ({ crew, url, size }) => {
    const tasks = size(500, 120);
    const latencyOf = (notify: "deferred" | "trigger") => async () =>
      crew.latency({ technique: "ours", url, options: { notify } }, tasks);
    return { ours: latencyOf("deferred"), reference: latencyOf("trigger") };
  },
};

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
function latencyOfSize(
  name: string,
  resultBytes: number,
  tasks: readonly [full: number, quick: number],
  atMost?: number,
): Row {
  return {
    name: `store → wait, one at a time, ${name}`,
    reference: redis,
    unit: "ms",
    ...(atMost === undefined ? {} : { target: { of: "ratio", atMost } }),
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
  latency("store → wait, one at a time", withRead, p50),
  latency("store → wait, one at a time: p99", withRead, p99),
  latency("store → wait, one at a time, results inline", inline, p50),
  deferredLatency,
  latencyAgainstPolling,
  latencyOfSize("100 B", 100, [300, 60]),
  latencyOfSize("10 KB", 10_000, [300, 60]),
  latencyOfSize("1 MB", 1_000_000, [60, 20], 2),
  startUp,
];
