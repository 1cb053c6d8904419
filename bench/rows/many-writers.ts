import type { Row } from "../row";

/** Concurrent stores in total, across all processes. */
const lanes = 256;

/** Many storing processes, against one with as many concurrent stores. */
function manyWriters(storingProcesses: number): Row {
  return {
    name: `30 000 open waits, ${storingProcesses} storing processes`,
    reference: "1 storing process",
    unit: "/s",
    prepare: ({ crew, url, size }) => {
      const settings = { technique: "ours", url } as const;
      const tasks = size(30_000, 5_000);
      return {
        ours: async () => crew.drain(settings, { tasks, lanes: lanes / storingProcesses, storingProcesses }),
        reference: async () => crew.drain(settings, { tasks, lanes }),
      };
    },
  };
}

export const eightWriters = manyWriters(8);
export const thirtyTwoWriters = manyWriters(32);
