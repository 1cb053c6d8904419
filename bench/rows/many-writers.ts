import type { Row } from "../row";

/** Lanes in all, however many processes share them. */
const lanes = 256;

/** Many processes that store, against one with as many lanes. */
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
