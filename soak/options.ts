import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";

export interface SoakOptions {
  readonly minutes: number;
  /** Determines the faults, their order and times, and the tasks. */
  readonly seed: string;
}

export const usage = `Usage: npm run soak -- [--minutes N] [--seed S]

Starts a Postgres server of its own and four processes that store, wait and complete groups on it.
Breaks something every 100 to 500 ms for N minutes, and checks that no promise is broken: nothing
stored is lost or different, nothing is invented, each wait ends in time, each group completes once,
and nothing is left connected.

  --minutes N   duration, fractions allowed (default 1)
  --seed S      repeats the faults of an earlier run, in the same order and at the same intervals
                (default: a new seed, which is printed)
  --help        this text

The exit code is 0 if all promises were kept, 1 if not, and 2 for wrong arguments. The run ends
within two minutes after the N minutes, and usually within half a minute.
`;

/** @returns The parsed options, or `"help"`. @throws TypeError or RangeError: An argument is wrong. */
export function parseOptions(args: readonly string[]): SoakOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: { minutes: { type: "string" }, seed: { type: "string" }, help: { type: "boolean" } },
  });
  if (values.help === true) return "help";
  const minutes = Number(values.minutes ?? 1);
  if (!(minutes > 0 && minutes <= 10_000))
    throw new RangeError(`--minutes: expected a number above 0, up to 10000, got ${values.minutes ?? ""}.`);
  return { minutes, seed: values.seed ?? String(randomInt(1_000_000)) };
}
