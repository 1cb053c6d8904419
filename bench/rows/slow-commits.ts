import { bareWithRead } from "../references";
import type { Row } from "../row";

/** Starting more processes takes a quick run longer than measuring them. */
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
  reference: bareWithRead,
  unit: "ms",
  prepare: ({ crew, url, size }) => {
    const tasks = size(200, 30);
    return {
      ours: async () => crew.latency({ technique: "ours", url: slow(url) }, tasks),
      reference: async () => crew.latency({ technique: "bare with read", url: slow(url) }, tasks),
    };
  },
};

interface Load {
  readonly processes: number;
  readonly lanes: number;
  /** Whether commits take 2 ms longer. */
  readonly isSlow: boolean;
  readonly tasks: readonly [full: number, quick: number];
  readonly atLeast?: number;
}

/** Announcing after the commit, against announcing within it. */
function deferred({ processes, lanes, isSlow, tasks, atLeast }: Load): Row {
  return {
    name: `${processes} storing processes with ${lanes} lane${lanes === 1 ? "" : "s"} each${isSlow ? ", commits of 2 ms" : ""}: 'deferred'`,
    reference: {
      name: "'trigger'",
      description: "The library with the same processes and lanes, where each commit notifies.",
      code: ["bench/rows/slow-commits.ts", "deferred"],
    },
    unit: "/s",
    ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
    prepare: ({ crew, url, size }) => {
      const storingProcesses = size(processes, Math.min(processes, quickStoringProcesses));
      const load = { tasks: size(...tasks), lanes, storingProcesses };
      const address = isSlow ? slow(url) : url;
      const drain = (notify: "deferred" | "trigger") => async () =>
        crew.drain({ technique: "ours", url: address, options: { notify } }, load);
      return { ours: drain("deferred"), reference: drain("trigger") };
    },
  };
}

export const slowCommitRows: readonly Row[] = [
  deferred({ processes: 8, lanes: 1, isSlow: false, tasks: [8_000, 1_200], atLeast: 1.1 }),
  deferred({ processes: 24, lanes: 1, isSlow: false, tasks: [8_000, 1_200], atLeast: 1.1 }),
  deferred({ processes: 32, lanes: 1, isSlow: true, tasks: [3_200, 640], atLeast: 5 }),
  slowLatency,
  deferred({ processes: 32, lanes: 8, isSlow: true, tasks: [12_800, 1_280] }),
];
