import type { Bench } from "../bench";
import { Crew, type Drained } from "../crew";
import { hasProcessorTimes } from "../processor-time";
import { NotMeasured, type Row } from "../row";

const lanes = 256;

/** Processor time for each result of a drain, against Redis. */
function processorTime(name: string, of: (drained: Drained) => number): Row {
  return {
    name,
    reference: "Redis without persistence",
    unit: "µs",
    prepare: async (bench: Bench) => {
      if (!hasProcessorTimes()) throw new NotMeasured("there is no /proc on this system");
      const redis = await bench.redis("none");
      const crew = new Crew(bench);
      const tasks = bench.size(30_000, 10_000);
      const postgres = { tasks, lanes, server: bench.postmaster };
      const rival = { technique: "redis", url: bench.url, redisPort: redis.port } as const;
      const toSample = (drained: Drained): { value: number } => ({ value: (of(drained) * 1_000) / tasks });
      return {
        ours: async () => toSample(await crew.drain({ technique: "ours", url: bench.url }, postgres)),
        reference: async () => toSample(await crew.drain(rival, { tasks, lanes, server: redis.processId })),
        end: () => crew[Symbol.dispose](),
      };
    },
  };
}

export const clientProcessorTime = processorTime(
  "processor time for each result, storing and waiting process",
  ({ clientCpuMs }) => clientCpuMs,
);
export const serverProcessorTime = processorTime(
  "processor time for each result, server",
  ({ serverCpuMs }) => serverCpuMs,
);
