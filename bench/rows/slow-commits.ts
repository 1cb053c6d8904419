import { bareWithRead } from "../references";
import type { Row } from "../row";

/**
 * Gives an address whose commits take 2 ms longer, as on a cloud disk: the session that flushes the log sleeps first
 * and blocks other flushes (PostgreSQL docs, commit_delay). Sessions that commit meanwhile share that flush, as on a
 * slow disk.
 */
export function slowCommits(address: string): string {
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
      ours: async () => crew.latency({ technique: "ours", url: slowCommits(url) }, tasks),
      reference: async () => crew.latency({ technique: "bare with read", url: slowCommits(url) }, tasks),
    };
  },
};

export const slowCommitRows: readonly Row[] = [slowLatency];
