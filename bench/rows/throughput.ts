import type { Persistence } from "../../tools/servers";
import type { Bench } from "../bench";
import { WorkerProcess } from "../processes";
import { bullmq, durableBullmq, durableRedis, redis, rowPerCommit } from "../references";
import type { Reference, Row } from "../row";
import type { ListeningTasks } from "../workers/listening";

const code = "bench/rows/throughput.ts";
/** Concurrent stores in total, across all storing processes. */
const lanes = 256;
const drainTasks = ({ size }: Bench): number => size(30_000, 3_000);

interface Rival {
  readonly technique: "redis" | "bullmq";
  readonly persistence: Persistence;
  /** Absent if the ratio is for information only. */
  readonly atLeast?: number;
}

/** Many concurrent stores, each awaited by another process. */
function drain(reference: Reference, { technique, persistence, atLeast }: Rival): Row {
  return {
    name: `256 lanes storing for 30 000 open waits, against ${reference.name}`,
    reference,
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: async (bench) => {
      const { crew, url, postgres } = bench;
      const server = await bench.redis(persistence);
      const rival = { technique, url, redisPort: server.port };
      const load = { tasks: drainTasks(bench), lanes };
      return {
        ours: async () => crew.drain({ technique: "ours", url }, { ...load, server: postgres.processId }),
        reference: async () => crew.drain(rival, { ...load, server: server.processId }),
      };
    },
  };
}

/** The same in new processes, whose code has hardly run. */
const drainWhileCold: Row = {
  name: "256 lanes storing for 30 000 open waits, 5 000 operations after the start",
  reference: redis,
  unit: "/s",
  target: { of: "ratio", atLeast: 1.2 },
  prepare: async (bench) => {
    const { url } = bench;
    const redisPort = (await bench.redis("none")).port;
    const load = { tasks: drainTasks(bench), lanes, tasksBefore: 5_000 };
    const drainBy = (technique: "ours" | "redis") => async () => {
      using crew = bench.newCrew();
      return await crew.drain({ technique, url, redisPort }, load);
    };
    return { ours: drainBy("ours"), reference: drainBy("redis") };
  },
};

/** Stores all tasks at once while another process listens. */
const burst: Row = {
  name: "50 000 stores at once",
  reference: rowPerCommit,
  unit: "/s",
  target: { of: "ratio", atLeast: 25 },
  prepare: ({ crew, url, size }) => {
    const tasks = size(50_000, 5_000);
    // At its rate, all tasks would take half a minute.
    const fewTasks = size(10_000, 500);
    return {
      ours: async () => crew.storeRate({ technique: "ours", url }, { tasks, lanes: tasks }),
      reference: async () => crew.storeRate({ technique: "row per commit", url }, { tasks: fewTasks, lanes: 8 }),
    };
  },
};

/** Many storing processes, against one with as many concurrent stores. */
function manyWriters(count: number): Row {
  return {
    name: `30 000 open waits, ${count} storing processes`,
    reference: {
      name: "1 storing process",
      description: "The library with one storing process that has as many lanes as the others together.",
      code: [code, "manyWriters"],
    },
    unit: "/s",
    prepare: (bench) => {
      const { crew, url, size } = bench;
      const settings = { technique: "ours", url } as const;
      const tasks = drainTasks(bench);
      // Starting 32 processes takes a quick run longer than measuring them.
      const storingProcesses = size(count, Math.min(count, 8));
      return {
        ours: async () => crew.drain(settings, { tasks, lanes: lanes / storingProcesses, storingProcesses }),
        reference: async () => crew.drain(settings, { tasks, lanes }),
      };
    },
  };
}

const connectionsPerProcess = 10;

/** The share of a drain's rate that remains while other processes listen on the same channel. */
function listeners(others: number, atLeast?: number): Row {
  return {
    name: `30 000 open waits, ${others} other listening connection${others === 1 ? "" : "s"}`,
    reference: {
      name: "no other",
      description: "The library with the same load, while only its own waiting process listens.",
      code: [code, "listeners"],
    },
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: (bench) => {
      const { crew, url } = bench;
      const processes = Array.from(
        { length: Math.ceil(others / connectionsPerProcess) },
        () => new WorkerProcess<ListeningTasks>("listening"),
      );
      const connections = others / processes.length;
      const settings = { technique: "ours", url } as const;
      const load = { tasks: drainTasks(bench), lanes };
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

export const throughputRows: readonly Row[] = [
  drain(redis, { technique: "redis", persistence: "none", atLeast: 1.2 }),
  drainWhileCold,
  drain(durableRedis, { technique: "redis", persistence: "always", atLeast: 1.5 }),
  drain(bullmq, { technique: "bullmq", persistence: "none", atLeast: 6 }),
  // A queue that is as durable as a result in Postgres.
  drain(durableBullmq, { technique: "bullmq", persistence: "always" }),
  burst,
  listeners(1),
  listeners(10),
  listeners(50, 0.7),
  manyWriters(8),
  manyWriters(32),
];
