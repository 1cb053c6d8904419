import type { Bench } from "../bench";
import { Crew } from "../crew";
import type { Row } from "../row";
import type { TechniqueSettings } from "../technique";

const lanes = 256;

interface Rival {
  readonly reference: string;
  readonly atLeast: number;
  /** Where the rival takes too long for 30 000. */
  readonly tasks?: readonly [full: number, quick: number];
  readonly settings: (bench: Bench) => Promise<TechniqueSettings>;
}

/** Many stores under way, each awaited by somebody. */
function drain({ reference, atLeast, tasks: [full, quick] = [30_000, 10_000], settings }: Rival): Row {
  return {
    name: `256 lanes storing for ${full.toLocaleString("en").replace(",", " ")} open waits, against ${reference}`,
    reference,
    unit: "/s",
    target: { of: "ratio", atLeast },
    prepare: async (bench) => {
      const rival = await settings(bench);
      const crew = new Crew(bench);
      const tasks = bench.size(full, quick);
      return {
        ours: async () => crew.drain({ technique: "ours", url: bench.url }, { tasks, lanes }),
        reference: async () => crew.drain(rival, { tasks, lanes }),
        end: () => crew[Symbol.dispose](),
      };
    },
  };
}

export const drainAgainstRedis = drain({
  reference: "Redis without persistence",
  atLeast: 1.2,
  settings: async (bench) => ({
    technique: "redis",
    url: bench.url,
    redisPort: (await bench.redis("none")).port,
  }),
});

export const drainAgainstDurableRedis = drain({
  reference: "Redis with appendfsync always",
  atLeast: 2,
  settings: async (bench) => ({
    technique: "redis",
    url: bench.url,
    redisPort: (await bench.redis("always")).port,
  }),
});

export const drainAgainstBullmq = drain({
  reference: "BullMQ waitUntilFinished",
  atLeast: 15,
  settings: async (bench) => ({
    technique: "bullmq",
    url: bench.url,
    redisPort: (await bench.redis("none")).port,
  }),
  tasks: [30_000, 5_000],
});
