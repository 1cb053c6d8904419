import { parseArgs } from "node:util";

export interface BenchOptions {
  readonly isQuick: boolean;
  /** File for the figures, as JSON. */
  readonly json: string | undefined;
  /** Selects rows by name. */
  readonly only: RegExp;
}

export const usage = `Usage: npm run bench -- [--quick] [--only PATTERN] [--json FILE]

Measures this library against references on the same machine and prints one table. Brings its own Postgres; rows with Redis in them need redis-server in the PATH. The
storing side is always another process than the waiting side, and waits are open before the clock starts. Ours and the reference take turns, five rounds each; medians
count. A target that is missed does not fail the run; a row that could not be measured for another reason than a missing program does (exit code 1).

  --quick          two rounds of less, in under two minutes; too little for conclusions
  --only PATTERN   only rows whose name matches this regular expression, in any case
  --json FILE      writes every round to a file as well
  --help           this text
`;

/** @returns The parsed options, or `"help"`. @throws TypeError or SyntaxError: An argument is wrong. */
export function parseOptions(args: readonly string[]): BenchOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean" },
      only: { type: "string" },
      json: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) return "help";
  return { isQuick: values.quick === true, json: values.json, only: new RegExp(values.only ?? "", "i") };
}
