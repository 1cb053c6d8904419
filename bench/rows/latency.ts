import type { Row } from "../row";

/** One result at a time, against the least that a wake-up by Postgres can cost. */
function latency(name: string, inlineResultBytes: number, atMost: number): Row {
  return {
    name,
    reference: "bare INSERT → notification event",
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

export const latencyAgainstBare = latency("store → wait, one at a time", 0, 1.6);
export const inlineLatencyAgainstBare = latency("store → wait, one at a time, results inline", 4_000, 1.15);

export const latencyAgainstPolling: Row = {
  name: "store → wait, one at a time, against polling",
  reference: "polling every 100 ms",
  unit: "ms",
  prepare: ({ crew, url, size }) => {
    const tasks = size(100, 30);
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
    reference: "Redis without persistence",
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

export const latencyOf100Bytes = latencyOfSize("100 B", 100, [300, 60]);
export const latencyOf10Kilobytes = latencyOfSize("10 KB", 10_000, [300, 60]);
export const latencyOf1Megabyte = latencyOfSize("1 MB", 1_000_000, [60, 20]);
