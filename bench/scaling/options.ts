import { parseArgs } from "node:util";

export interface ScalingOptions {
  readonly rounds: number;
  readonly tasks: number;
  readonly latencies: number;
  /** Numbers of waiting processes. */
  readonly processes: readonly number[];
  /** File for the figures, as JSON. */
  readonly json: string | undefined;
}

export const usage = `Usage: npm run bench:scaling -- [--quick] [--processes 10,50,200] [--json FILE]

Measures how many waiting processes one Postgres can wake: by LISTEN in each of them, by one relay
to NATS, and by NATS alone. One process stores. Needs nats-server in the PATH, and 60 MB of memory
for each waiting process.

  --quick            one round with less load; too little for conclusions
  --processes LIST   numbers of waiting processes (default 10,50,200; with --quick 10)
  --json FILE        also writes every round to a file
  --help             this text
`;

/** @returns The parsed options, or `"help"`. @throws TypeError: An argument is wrong. */
export function parseOptions(args: readonly string[]): ScalingOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean" },
      processes: { type: "string" },
      json: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help === true) return "help";
  const isQuick = values.quick === true;
  const processes = (values.processes ?? (isQuick ? "10" : "10,50,200")).split(",").map(Number);
  if (!processes.every((count) => Number.isInteger(count) && count > 0))
    throw new TypeError(`--processes: expected whole numbers separated by commas, got ${String(values.processes)}`);
  const amounts = isQuick ? { rounds: 1, tasks: 5_000, latencies: 50 } : { rounds: 3, tasks: 30_000, latencies: 400 };
  return { ...amounts, processes, json: values.json };
}
