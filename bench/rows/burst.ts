import { Crew } from "../crew";
import type { Row } from "../row";

/** Stores all at once, while another process listens. */
export const burst: Row = {
  name: "50 000 stores at once",
  reference: "a row per commit, same trigger, 8 connections",
  unit: "/s",
  target: { of: "ratio", atLeast: 20 },
  prepare: (bench) => {
    const crew = new Crew(bench);
    const tasks = bench.size(50_000, 20_000);
    // At its rate all of them would take half a minute.
    const fewTasks = bench.size(10_000, 3_000);
    return Promise.resolve({
      ours: async () => crew.storeRate({ technique: "ours", url: bench.url }, { tasks, lanes: tasks }),
      reference: async () =>
        crew.storeRate({ technique: "row per commit", url: bench.url }, { tasks: fewTasks, lanes: 8 }),
      end: () => crew[Symbol.dispose](),
    });
  },
};
