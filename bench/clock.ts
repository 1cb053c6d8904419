import { existsSync, readdirSync, readFileSync } from "node:fs";

/**
 * Milliseconds with fractions on the machine's monotonic clock. Its zero is the same for all processes (the boot on
 * Linux and macOS), so times of two processes may be subtracted. `performance.now()` counts from the start of each
 * process.
 */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** A tick of the counters in /proc: 10 ms on every current Linux (USER_HZ). */
const tickMs = 10;

export const hasProcessorTimes = (): boolean => existsSync("/proc/self/stat");

/** Milliseconds of processor time of a process and its children, including those that have ended. */
export function processorTimeMs(processId: number): number {
  let ticks = 0;
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? readStat(name) : undefined;
    if (stat === undefined) continue;
    const isRoot = Number(name) === processId;
    if (isRoot) ticks += stat.own + stat.endedChildren;
    else if (stat.parent === processId) ticks += stat.own;
  }
  return ticks * tickMs;
}

function readStat(name: string): { parent: number; own: number; endedChildren: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${name}/stat`, "utf8");
  } catch {
    return undefined; // It has ended meanwhile.
  }
  // The fields after the program's name, which is in brackets and may contain anything. See proc(5): ppid is the 4th
  // field, utime the 14th.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const field = (number: number): number => Number(fields[number - 3]);
  return { parent: field(4), own: field(14) + field(15), endedChildren: field(16) + field(17) };
}
