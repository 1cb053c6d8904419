import type { Bench } from "../bench";
import { Crew } from "../crew";
import type { Row } from "../row";

/** Lanes in all, however many processes share them. */
const lanes = 256;

/** Many processes that store, against one with as many lanes. */
function manyWriters(processes: number): Row {
  return {
    name: `30 000 open waits, ${processes} storing processes`,
    reference: "1 storing process",
    unit: "/s",
    prepare: (bench) => {
      const [many, one] = [new Crew(bench, processes), new Crew(bench)];
      const settings = { technique: "ours", url: bench.url } as const;
      const tasks = bench.size(30_000, 10_000);
      return Promise.resolve({
        ours: async () => many.drain(settings, { tasks, lanes: lanes / processes }),
        reference: async () => one.drain(settings, { tasks, lanes }),
        end: () => {
          for (const crew of [many, one]) crew[Symbol.dispose]();
        },
      });
    },
  };
}

export const eightWriters = manyWriters(8);
export const thirtyTwoWriters = manyWriters(32);

/**
 * An address whose commits take 2 ms more, as on a disk of a cloud: whoever writes the log to disk waits before, and keeps others from doing so (PostgreSQL docs, commit_delay).
 * Those who come meanwhile share that write, as they do on a slow disk.
 */
function slowUrl(bench: Bench): string {
  const url = new URL(bench.url);
  url.searchParams.set("options", "-c commit_delay=2000 -c commit_siblings=0");
  return url.href;
}

/** Says what a commit takes there. */
export const slowLatency: Row = {
  name: "store → wait, one at a time, commits of 2 ms",
  reference: "bare INSERT → notification event",
  unit: "ms",
  prepare: (bench) => {
    const crew = new Crew(bench);
    const tasks = bench.size(200, 50);
    return Promise.resolve({
      ours: async () => crew.latency({ technique: "ours", url: slowUrl(bench) }, tasks),
      reference: async () => crew.latency({ technique: "bare", url: slowUrl(bench) }, tasks),
      end: () => crew[Symbol.dispose](),
    });
  },
};

interface SlowLoad {
  readonly lanesEach: number;
  readonly tasks: readonly [full: number, quick: number];
  readonly atLeast?: number;
}

/** Announcing after the commit, against announcing in it. */
function slowCommits({ lanesEach, tasks, atLeast }: SlowLoad): Row {
  const processes = 32;
  return {
    name: `${processes} storing processes with ${lanesEach} lane${lanesEach === 1 ? "" : "s"} each, commits of 2 ms: 'deferred'`,
    reference: "'trigger'",
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: (bench) => {
      const crew = new Crew(bench, processes);
      const load = { tasks: bench.size(...tasks), lanes: lanesEach };
      const drain = (notify: "deferred" | "trigger") => async () =>
        crew.drain({ technique: "ours", url: slowUrl(bench), options: { notify } }, load);
      return Promise.resolve({
        ours: drain("deferred"),
        reference: drain("trigger"),
        end: () => crew[Symbol.dispose](),
      });
    },
  };
}

export const slowWriters = slowCommits({ lanesEach: 1, tasks: [3_200, 640], atLeast: 3 });
export const slowWritersWithLanes = slowCommits({ lanesEach: 8, tasks: [12_800, 2_560] });
