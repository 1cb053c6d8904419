import { parseArgs } from "node:util";

export interface BenchOptions {
  readonly isQuick: boolean;
  /** Selects rows by name. Default: all, or those with a target for a quick run. */
  readonly only: RegExp | undefined;
  /** File for the result. */
  readonly json: string | undefined;
  /** File with the result of an earlier run. */
  readonly compare: string | undefined;
  /** Describes the references instead of measuring. */
  readonly isExplained: boolean;
}

export const usage = `Usage: npm run bench -- [--quick] [--only PATTERN] [--json FILE] [--compare FILE]
       npm run bench -- --explain [--only PATTERN]

Measures this library against references on the same machine and prints one table. The bench starts
a Postgres of its own. Rows with Redis need redis-server in the PATH. Storing and waiting processes
are always different ones, and waits are open before the clock starts. This library and the
reference take turns for five rounds, and medians count. The exit code is 1 if a row failed. A
missed target or a missing program is not a failure.

  --quick           two rounds with less load and fewer processes, in under two minutes; too little for
                    conclusions; leaves out rows without a target, unless --only is given
  --only PATTERN    only rows whose name matches this regular expression, ignoring case
  --json FILE       also writes the result to a file, again after each row
  --compare FILE    also shows how each ratio differs from that of an earlier run's --json
  --explain         prints what each row is measured against, with its code
  --help            this text
`;

/** @returns The parsed options, or `"help"`. @throws TypeError or SyntaxError: An argument is wrong. */
export function parseOptions(args: readonly string[]): BenchOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      json: { type: "string" },
      compare: { type: "string" },
      explain: { type: "boolean", default: false },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) return "help";
  const { quick: isQuick, json, compare, explain: isExplained } = values;
  if (isExplained && (isQuick || json !== undefined || compare !== undefined))
    throw new TypeError("--explain measures nothing, so it goes with --only alone.");
  const only = values.only === undefined ? undefined : new RegExp(values.only, "i");
  return { isQuick, only, json, compare, isExplained };
}
