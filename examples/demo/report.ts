import Table from "cli-table3";
import type { Stats, WakeCause } from "kojin-postgres";
import { type Latencies, percentile } from "./latency";
import type { EndedWait } from "./waiter";

const outcomes: readonly [EndedWait["outcome"], string][] = [
  ["result", "with the result of the task"],
  ["failure", "with the error of a task that failed"],
  ["timeout", "by timeout: no result was stored"],
];

// `inline` is absent: results travel in notifications only with the option `inlineResultBytes`.
const causes: readonly [WakeCause, string][] = [
  ["read", "read at once: it was there already"],
  ["notification", "notification: Postgres told that it is there"],
  ["reconnect", "re-read after LISTEN was (again) confirmed"],
  ["sweep", "sweep: the regular re-read, a safety net"],
  ["deadline", "last read, when the time was up"],
];

const percentiles: readonly [number, string][] = [
  [0.5, "p50: half of them took at most"],
  [0.95, "p95: 95 of 100 took at most"],
  [0.99, "p99: 99 of 100 took at most"],
  [1, "max: the slowest took"],
];

/** The tables at the end: how the waits ended, what woke them, and how long that took. */
export function createReport(waits: readonly EndedWait[], wokenBy: Stats["wokenBy"], latencies: Latencies): string {
  const { from, sortedMs } = latencies;
  const count = (outcome: EndedWait["outcome"]): number => waits.filter((wait) => wait.outcome === outcome).length;
  return [
    createTable(["How the waits ended", "waits"], outcomes, (outcome) => String(count(outcome))),
    createTable(["How they found the result, or the error", "waits"], causes, (cause) => String(wokenBy[cause])),
    createTable([`From ${from} to wake-up (waits: ${sortedMs.length})`, "milliseconds"], percentiles, (share) =>
      inMs(percentile(sortedMs, share)),
    ),
    ...describeClocks(sortedMs),
  ].join("\n");
}

function createTable<Key>(
  head: [string, string],
  rows: readonly (readonly [Key, string])[],
  valueOf: (key: Key) => string,
): string {
  const style = { head: [], border: [], compact: true };
  const table = new Table({ head, colWidths: [52, 16], colAligns: ["left", "right"], style });
  table.push(...rows.map(([key, label]) => [label, valueOf(key)]));
  return table.toString();
}

function inMs(durationMs: number | undefined): string {
  return durationMs === undefined ? "–" : durationMs.toFixed(1);
}

function describeClocks([fastestMs = 0]: readonly number[]): string[] {
  if (fastestMs >= 0) return [];
  return [
    `The clocks of this machine and the server differ by ${inMs(-fastestMs)} ms or more, so these times are not exact.`,
  ];
}
