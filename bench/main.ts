// npm run bench -- [--quick] [--only PATTERN] [--json FILE]

import { writeFile } from "node:fs/promises";
import { cpus, release } from "node:os";
import { readOptions } from "../tools/command-line";
import { Bench } from "./bench";
import { measure } from "./measure";
import { type BenchOptions, parseOptions, usage } from "./options";
import { rows } from "./rows";
import { createTable, type MeasuredRow } from "./table";

async function main(): Promise<number> {
  const options = readOptions(parseOptions, usage);
  if (typeof options === "number") return options;
  const { only } = options;
  const selected = rows.filter(({ name }) => only.test(name));
  if (selected.length === 0) {
    console.error(`No row has a name like ${String(only)}. There are:\n${rows.map(({ name }) => name).join("\n")}`);
    return 2;
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));
  return run(options, selected);
}

async function run({ isQuick, json }: BenchOptions, selected: typeof rows): Promise<number> {
  await using bench = await Bench.start(isQuick);
  const machine = {
    node: process.version,
    postgres: (await bench.sql<{ server_version: string }>("show server_version"))[0]?.server_version ?? "",
    system: `${process.platform} ${release()}`,
    processors: `${cpus().length} × ${cpus()[0]?.model ?? ""}`,
  };
  const measured: MeasuredRow[] = [];
  for (const row of selected) {
    const startedAt = performance.now();
    measured.push({ row, figures: await measure(row, bench) });
    // After each row, so that an interrupted run keeps its figures.
    if (json !== undefined) await writeFile(json, toJson(bench, machine, measured));
    console.error(
      `${measured.length}/${selected.length} ${row.name}: ${Math.round((performance.now() - startedAt) / 1_000)} s`,
    );
  }
  console.log(createTable(measured));
  console.log(`${Object.values(machine).join(", ")}; rounds: ${bench.rounds}${isQuick ? " (quick)" : ""}.`);
  return measured.some(({ figures }) => figures.failure !== undefined) ? 1 : 0;
}

function toJson({ rounds, isQuick }: Bench, machine: object, measured: readonly MeasuredRow[]): string {
  const content = {
    machine,
    rounds,
    isQuick,
    rows: measured.map(({ row: { name, reference, unit, target }, figures }) => ({
      name,
      reference,
      unit,
      target,
      ...figures,
    })),
  };
  return `${JSON.stringify(content, undefined, 2)}\n`;
}

void main().then(
  (exitCode) => process.exit(exitCode),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
