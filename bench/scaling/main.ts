// npm run bench:scaling -- [--quick] [--processes 10,50,200] [--json FILE]

import { writeFileSync } from "node:fs";
import { freemem } from "node:os";
import { runCommand } from "../../tools/command-line";
import { NotMeasured } from "../sample";
import { Fleet } from "./fleet";
import { parseOptions, type ScalingOptions, usage } from "./options";
import { type SetUp, setUps, Site } from "./set-ups";
import { createTable, type Round } from "./table";

/** Memory of a waiting process, including its share of common memory. */
const bytesOfProcess = 60 * 1024 * 1024;
/** Enough to compile the code and to open the connections that read. */
const warmUpTasks = (processes: number): number => Math.max(2_000, 20 * processes);

async function run(options: ScalingOptions): Promise<number> {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));
  try {
    console.log(createTable(await measureAll(options)));
  } catch (error) {
    if (!(error instanceof NotMeasured)) throw error;
    console.log(`Not measured: ${error.message}.`);
  }
  return 0;
}

async function measureAll(options: ScalingOptions): Promise<Round[]> {
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
        if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rounds, undefined, 2)}\n`);
        console.error(JSON.stringify(rounds.at(-1)));
      }
    }
  }
  return rounds;
}

async function measure(
  site: Site,
  fleet: Fleet,
  setUp: SetUp,
  processes: number,
  { tasks, latencies }: ScalingOptions,
): Promise<Round> {
  await site.postgres.empty();
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

runCommand({ usage, parse: parseOptions, run });
