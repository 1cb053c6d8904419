import { Crew } from "../crew";
import type { Row } from "../row";

/** One result at a time, against the least that a wake-up by Postgres can cost. */
function latency(name: string, inlineResultBytes: number, atMost: number): Row {
  return {
    name,
    reference: "bare INSERT → notification event",
    unit: "ms",
    target: { of: "ratio", atMost },
    prepare: (bench) => {
      const crew = new Crew(bench);
      const tasks = bench.size(500, 150);
      return Promise.resolve({
        ours: async () => crew.latency({ technique: "ours", url: bench.url, options: { inlineResultBytes } }, tasks),
        reference: async () => crew.latency({ technique: "bare", url: bench.url }, tasks),
        end: () => crew[Symbol.dispose](),
      });
    },
  };
}

export const latencyAgainstBare = latency("store → wait, one at a time", 0, 1.6);
export const inlineLatencyAgainstBare = latency("store → wait, one at a time, results inline", 4_000, 1.15);

export const latencyAgainstPolling: Row = {
  name: "store → wait, one at a time, against polling",
  reference: "polling every 100 ms",
  unit: "ms",
  prepare: (bench) => {
    const crew = new Crew(bench);
    const tasks = bench.size(200, 50);
    return Promise.resolve({
      ours: async () => crew.latency({ technique: "ours", url: bench.url }, tasks),
      reference: async () => crew.latency({ technique: "polling", url: bench.url }, tasks),
      end: () => crew[Symbol.dispose](),
    });
  },
};

/** The same with results of several sizes, against Redis. */
function latencyOfSize(size: string, resultBytes: number, tasks: readonly [full: number, quick: number]): Row {
  return {
    name: `store → wait, one at a time, ${size}`,
    reference: "Redis without persistence",
    unit: "ms",
    prepare: async (bench) => {
      const { port: redisPort } = await bench.redis("none");
      const crew = new Crew(bench);
      const count = bench.size(...tasks);
      return {
        ours: async () => crew.latency({ technique: "ours", url: bench.url }, count, resultBytes),
        reference: async () => crew.latency({ technique: "redis", url: bench.url, redisPort }, count, resultBytes),
        end: () => crew[Symbol.dispose](),
      };
    },
  };
}

export const latencyOf100Bytes = latencyOfSize("100 B", 100, [300, 100]);
export const latencyOf10Kilobytes = latencyOfSize("10 KB", 10_000, [300, 100]);
export const latencyOf1Megabyte = latencyOfSize("1 MB", 1_000_000, [60, 20]);
