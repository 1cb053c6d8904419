import { bareWithRead, rowPerCommit } from "../references";
import type { Row } from "../row";

/** One chunk of one task at a time, against the least code that stores, notifies and reads. */
const latency: Row = {
  name: "emit → chunks$, one at a time",
  reference: bareWithRead,
  unit: "ms",
  target: { of: "ratio", atMost: 1.3 },
  prepare: ({ crew, url, size }) => {
    const tasks = size(500, 120);
    return {
      ours: async () => crew.latency({ technique: "chunks of one task", url }, tasks),
      reference: async () => crew.latency({ technique: "bare with read", url }, tasks),
    };
  },
};

const manyTasks: Row = {
  name: "256 tasks emitting chunks at once",
  reference: rowPerCommit,
  unit: "/s",
  target: { of: "ratio", atLeast: 15 },
  prepare: ({ crew, url, size }) => {
    const chunks = size(30_000, 5_000);
    const fewTasks = size(4_000, 500);
    return {
      ours: async () => crew.storeRate({ technique: "chunks of 256 tasks", url }, { tasks: chunks, lanes: 256 }),
      reference: async () => crew.storeRate({ technique: "row per commit", url }, { tasks: fewTasks, lanes: 8 }),
    };
  },
};

export const chunkRows: readonly Row[] = [latency, manyTasks];
