import { Crew } from "../crew";
import type { Row } from "../row";

/** One result at a time, against the least that a wake-up by Postgres can cost. */
export function latency(inlineResultBytes: number, atMost: number): Row {
  return {
    name: `store → wait, one at a time${inlineResultBytes > 0 ? ", results inline" : ""}`,
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
