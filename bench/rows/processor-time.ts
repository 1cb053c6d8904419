import type { Drained } from "../crew";
import { hasProcessorTimes } from "../processor-time";
import type { Row } from "../row";
import { NotMeasured } from "../sample";

const lanes = 256;

/** Processor time per result of a drain, against Redis. */
function processorTime(name: string, of: (drained: Drained) => number): Row {
  return {
    name,
    reference: "Redis without persistence",
    unit: "µs",
    prepare: async (bench) => {
      if (!hasProcessorTimes()) throw new NotMeasured("there is no /proc on this system");
      const redis = await bench.redis("none");
      const { crew, url, size } = bench;
      const tasks = size(30_000, 5_000);
      const postgres = { tasks, lanes, server: bench.postmaster };
      const rival = { technique: "redis", url, redisPort: redis.port } as const;
      const toSample = (drained: Drained): { value: number } => ({ value: (of(drained) * 1_000) / tasks });
      return {
        ours: async () => toSample(await crew.drain({ technique: "ours", url }, postgres)),
        reference: async () => toSample(await crew.drain(rival, { tasks, lanes, server: redis.processId })),
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
