import type { Bench } from "../bench";
import type { Row } from "../row";
import type { TechniqueSettings } from "../technique";

const lanes = 256;

interface Rival {
  readonly reference: string;
  /** Absent if the ratio is for information only. */
  readonly atLeast?: number;
  readonly settings: (bench: Bench) => Promise<Omit<TechniqueSettings, "url">>;
}

/** Many concurrent stores, each awaited by another process. */
function drain({ reference, atLeast, settings }: Rival): Row {
  return {
    name: `256 lanes storing for 30 000 open waits, against ${reference}`,
    reference,
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: async (bench) => {
      const { crew, url, size } = bench;
      const rival = { ...(await settings(bench)), url };
      const load = { tasks: size(30_000, 5_000), lanes };
      return {
        ours: async () => crew.drain({ technique: "ours", url }, load),
        reference: async () => crew.drain(rival, load),
      };
    },
  };
}

export const drainAgainstRedis = drain({
  reference: "Redis without persistence",
  atLeast: 1.2,
  settings: async (bench) => ({ technique: "redis", redisPort: (await bench.redis("none")).port }),
});

export const drainAgainstDurableRedis = drain({
  reference: "Redis with appendfsync always",
  atLeast: 2,
  settings: async (bench) => ({ technique: "redis", redisPort: (await bench.redis("always")).port }),
});

export const drainAgainstBullmq = drain({
  reference: "BullMQ waitUntilFinished",
  atLeast: 15,
  settings: async (bench) => ({ technique: "bullmq", redisPort: (await bench.redis("none")).port }),
});

/** Compares with a queue that is as durable as a result in Postgres. */
export const drainAgainstDurableBullmq = drain({
  reference: "BullMQ waitUntilFinished, Redis with appendfsync always",
  settings: async (bench) => ({ technique: "bullmq", redisPort: (await bench.redis("always")).port }),
});
