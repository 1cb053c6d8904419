import { bare } from "../references";
import type { Row } from "../row";

const fullStoringProcesses = 32;
/** Starting 32 processes takes a quick run longer than measuring them. */
const quickStoringProcesses = 8;

/**
 * Gives an address whose commits take 2 ms longer, as on a cloud disk: the session that flushes the log sleeps first
 * and blocks other flushes (PostgreSQL docs, commit_delay). Sessions that commit meanwhile share that flush, as on a
 * slow disk.
 */
function slow(address: string): string {
  const url = new URL(address);
  url.searchParams.set("options", "-c commit_delay=2000 -c commit_siblings=0");
  return url.href;
}

/** Shows the cost of a commit there. */
const slowLatency: Row = {
  name: "store → wait, one at a time, commits of 2 ms",
  reference: bare,
  unit: "ms",
  prepare: ({ crew, url, size }) => {
    const tasks = size(200, 30);
    return {
      ours: async () => crew.latency({ technique: "ours", url: slow(url) }, tasks),
      reference: async () => crew.latency({ technique: "bare", url: slow(url) }, tasks),
    };
  },
};

interface SlowLoad {
  readonly lanes: number;
  readonly tasks: readonly [full: number, quick: number];
  readonly atLeast?: number;
}

/** Announcing after the commit, against announcing within it. */
function slowCommits({ lanes, tasks, atLeast }: SlowLoad): Row {
  return {
    name: `${fullStoringProcesses} storing processes with ${lanes} lane${lanes === 1 ? "" : "s"} each, commits of 2 ms: 'deferred'`,
    reference: {
      name: "'trigger'",
      description: "The library with the same processes and lanes, where each commit notifies.",
      code: ["bench/rows/slow-commits.ts", "slowCommits"],
    },
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: ({ crew, url, size }) => {
      const storingProcesses = size(fullStoringProcesses, quickStoringProcesses);
      const load = { tasks: size(...tasks), lanes, storingProcesses };
      const drain = (notify: "deferred" | "trigger") => async () =>
        crew.drain({ technique: "ours", url: slow(url), options: { notify } }, load);
      return { ours: drain("deferred"), reference: drain("trigger") };
    },
  };
}

export const slowCommitRows: readonly Row[] = [
  slowCommits({ lanes: 1, tasks: [3_200, 640], atLeast: 3 }),
  slowLatency,
  slowCommits({ lanes: 8, tasks: [12_800, 1_280] }),
];
