// npm run bench:scaling -- [--quick] [--processes 10,50,200] [--json FILE]

import { writeFile } from "node:fs/promises";
import { freemem } from "node:os";
import { readOptions } from "../../tools/command-line";
import { NotMeasured } from "../sample";
import { Fleet } from "./fleet";
import { parseOptions, type ScalingOptions, usage } from "./options";
import { type SetUp, setUps } from "./set-ups";
import { Site } from "./site";
import { createTable, type Round } from "./table";

/** Memory of a waiting process, including its share of common memory. */
const bytesOfProcess = 60 * 1024 * 1024;
/** Enough to compile the code and to open the connections that read. */
const warmUpTasks = (processes: number): number => Math.max(2_000, 20 * processes);

async function main(): Promise<number> {
  const options = readOptions(parseOptions, usage);
  if (typeof options === "number") return options;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));
  try {
    await run(options);
    return 0;
  } catch (error) {
    if (!(error instanceof NotMeasured)) throw error;
    console.log(`Not measured: ${error.message}.`);
    return 0;
  }
}

async function run(options: ScalingOptions): Promise<void> {
  const carried = options.processes.filter((count) => count * bytesOfProcess < freemem());
  for (const count of options.processes)
    if (!carried.includes(count)) console.error(`${count} processes: left out, there is no memory for so many.`);
  await using site = await Site.start(Math.max(1, ...carried));
  const rounds: Round[] = [];
  // One listening process is the base of comparison.
  for (const processes of [1, ...carried]) {
    using fleet = await Fleet.start(processes);
    for (let round = 0; round < options.rounds; round += 1) {
      for (const setUp of processes === 1 ? setUps(site).slice(0, 1) : setUps(site)) {
        rounds.push(await measure(site, fleet, setUp, processes, options));
        if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rounds, undefined, 2)}\n`);
        console.error(JSON.stringify(rounds.at(-1)));
      }
    }
  }
  console.log(createTable(rounds));
}

async function measure(
  site: Site,
  fleet: Fleet,
  setUp: SetUp,
  processes: number,
  { tasks, latencies }: ScalingOptions,
): Promise<Round> {
  await site.empty();
  const stop = await setUp.start();
  await fleet.connect(setUp.storing, setUp.waiting);
  await fleet.drain(warmUpTasks(processes));
  const rate = await fleet.drain(tasks);
  const latency = await fleet.latency(Math.max(latencies, processes));
  const connections = await site.connections();
  await fleet.close();
  await stop();
  return { setUp: setUp.name, processes, rate, ...latency, connections };
}

void main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
