// npm run bench -- [--quick] [--only PATTERN] [--json FILE] [--compare FILE] [--explain]

import { cpus, release } from "node:os";
import { runCommand, UsageError } from "../tools/command-line";
import { Bench } from "./bench";
import { describeComparison, describeRun } from "./comparison";
import { describeReferences } from "./explanation";
import { measure } from "./measure";
import { type BenchOptions, parseOptions, usage } from "./options";
import { type BenchResult, readResult, type RowResult, writeResult } from "./result";
import type { Row } from "./row";
import { rows } from "./rows";
import { describeResults } from "./table";

async function run({ isQuick, only, json, compare, isExplained }: BenchOptions): Promise<number> {
  const isAsked = ({ name, target }: Pick<RowResult, "name" | "target">): boolean =>
    only?.test(name) ?? (target !== undefined || !isQuick);
  const selected = rows.filter(isAsked);
  if (selected.length === 0)
    throw new UsageError(
      `No row has a name like ${String(only)}. There are:\n${rows.map(({ name }) => name).join("\n")}`,
    );
  if (isExplained) {
    console.log(describeReferences(selected));
    return 0;
  }
  // Before the run, which takes minutes: a file that cannot be read ends it at once.
  const earlier = compare === undefined ? undefined : readResult(compare);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));
  const result = await measureAll(selected, isQuick, json);
  console.log(describeResults(result.rows));
  console.log(describeRun(result));
  if (earlier !== undefined) {
    // Rows that the options leave out are not missing.
    const asked = { ...earlier, rows: earlier.rows.filter(isAsked) };
    console.log(describeComparison(asked, result));
  }
  return result.rows.some(({ failure }) => failure !== undefined) ? 1 : 0;
}

async function measureAll(selected: readonly Row[], isQuick: boolean, json: string | undefined): Promise<BenchResult> {
  await using bench = await Bench.start(isQuick);
  const machine = {
    node: process.versions.node,
    postgres: await bench.postgres.version(),
    system: `${process.platform} ${release()}`,
    processor: cpus()[0]?.model.trim() ?? "unknown processor",
    cores: cpus().length,
    fdatasyncMs: bench.postgres.fdatasyncMs(),
  };
  const result: BenchResult = { format: 1, isQuick, rounds: bench.rounds, machine, rows: [] };
  if (json !== undefined) writeResult(json, result);
  for (const row of selected) {
    const startedAt = performance.now();
    result.rows.push(await measure(row, bench));
    // After each row, so that an interrupted run keeps its figures.
    if (json !== undefined) writeResult(json, result);
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    console.error(`${result.rows.length}/${selected.length} ${row.name}: ${seconds} s`);
  }
  return result;
}

runCommand({ usage, parse: parseOptions, run });
