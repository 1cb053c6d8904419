import type { Row } from "../row";

/** Stores all tasks at once while another process listens. */
export const burst: Row = {
  name: "50 000 stores at once",
  reference: "a row per commit, same trigger, 8 connections",
  unit: "/s",
  target: { of: "ratio", atLeast: 20 },
  prepare: ({ crew, url, size }) => {
    const tasks = size(50_000, 10_000);
    // At its rate, all tasks would take half a minute.
    const fewTasks = size(10_000, 1_000);
    return {
      ours: async () => crew.storeRate({ technique: "ours", url }, { tasks, lanes: tasks }),
      reference: async () => crew.storeRate({ technique: "row per commit", url }, { tasks: fewTasks, lanes: 8 }),
    };
  },
};
