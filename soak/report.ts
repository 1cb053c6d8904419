import Table from "cli-table3";
import type { Stats, WakeCause } from "kojin-postgres";
import type { FaultLoop } from "./fault-loop";
import { type BrokenPromise, type Problems, promises } from "./problems";
import type { GroupLoad } from "./group-load";
import type { TaskLoad } from "./task-load";

const causes: readonly [WakeCause, string][] = [
  ["read", "  first read: it was stored already"],
  ["notification", "  notification"],
  ["reconnect", "  re-read after LISTEN was (again) confirmed"],
  ["sweep", "  sweep"],
  ["deadline", "  last read at the deadline"],
];

export interface Findings {
  readonly tasks: TaskLoad;
  readonly groups: GroupLoad;
  readonly faults: FaultLoop;
  readonly problems: Problems;
  readonly stats: readonly Stats[];
  readonly longestPastDeadlineMs: number;
}

/** Formats the tables at the end: the calls made, the faults injected, and the promises broken. */
export function createReport(findings: Findings): string {
  const { faults, problems } = findings;
  const injected = [...faults.counts].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    createTable(["What was done", ""], work(findings)),
    createTable(
      ["Faults", "injected (missed)"],
      injected.map(([name, count]) => [name, `${count.injected} (${count.missed})`]),
    ),
    createTable(
      ["Promises broken", ""],
      Object.entries(promises).map(([promise, meaning]) => [
        `${promise}: ${meaning}`,
        String(problems.count(promise as BrokenPromise)),
      ]),
    ),
  ].join("\n");
}

function work({ tasks, groups, stats, longestPastDeadlineMs }: Findings): [string, string][] {
  const sum = (count: (each: Stats) => number): string => String(stats.reduce((total, each) => total + count(each), 0));
  return [
    ["waits for results resolved", String(tasks.resolved)],
    ["waits for results timed out (most were never stored, or later)", String(tasks.timeouts)],
    [
      "waits of results, groups and streams ended by",
      sum(({ wokenBy }) => Object.values(wokenBy).reduce((a, b) => a + b, 0)),
    ],
    ...causes.map(([cause, label]): [string, string] => [label, sum(({ wokenBy }) => wokenBy[cause])]),
    ["results found only by a sweep while listening", sum(({ caughtBySweep }) => caughtBySweep)],
    ["longest wait past its deadline", `${Math.round(longestPastDeadlineMs)} ms`],
    ["stores acknowledged", String(tasks.acknowledged)],
    ["stores rejected", String(tasks.rejected)],
    ...[...tasks.rejections].map(([error, count]): [string, string] => [`  ${error}`, String(count)]),
    [
      "stores and reads sent again",
      sum(({ stores, groupWrites, reads }) => stores.retries + groupWrites.retries + reads.retries),
    ],
    ["groups completed", String(groups.done)],
    ["calls for groups rejected and repeated", String(groups.repeated)],
    ["waits for groups timed out", String(groups.timeouts)],
    ["listeners lost", sum(({ reconnects }) => reconnects)],
    ["deferred notifications that failed", sum(({ announcementsFailed }) => announcementsFailed)],
    ["payloads ignored as invalid", sum(({ notifications }) => notifications.invalid)],
  ];
}

function createTable(head: [string, string], rows: readonly [string, string][]): string {
  const style = { head: [], border: [], compact: true };
  const table = new Table({ head, colWidths: [84, 20], colAligns: ["left", "right"], style, wordWrap: true });
  table.push(...rows);
  return table.toString();
}
