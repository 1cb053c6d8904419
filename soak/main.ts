// npm run soak -- [--minutes N] [--seed S]

import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { runCommand } from "../tools/command-line";
import { overtimeMs } from "./limits";
import { parseOptions, type SoakOptions, usage } from "./options";
import { createReport } from "./report";
import { Site } from "./site";
import { Soak } from "./soak";

/** Longest time that an interrupted run may take to repair what it broke. */
const repairLimitMs = 8_000;
/** Longest time that cleaning up may take after a run was ended by force. */
const cleanUpLimitMs = 12_000;

async function soak(options: SoakOptions): Promise<number> {
  const interruption = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interruption.abort(signal));
  process.on("uncaughtException", (error) => interruption.abort(error));
  const { minutes, seed } = options;
  console.log(`Soaking for ${minutes} min; repeat it with: npm run soak -- --minutes ${minutes} --seed ${seed}`);
  const site = await Site.start();
  const run = new Soak(options, site);
  const overtime = setTimeout(
    () => interruption.abort(new Error(`the run did not end in time: ${run.phase}`)),
    minutes * 60_000 + overtimeMs,
  );
  try {
    const findings = await Promise.race([run.run(interruption.signal), rejectAfter(interruption.signal)]);
    console.log(createReport(findings));
    const { problems } = findings;
    if (problems.total === 0) console.log("No promise was broken.");
    else
      console.error(
        `Broken promises: ${problems.total}. To repeat: npm run soak -- --minutes ${minutes} --seed ${seed}`,
      );
    return problems.total === 0 ? 0 : 1;
  } catch (error) {
    return explain(error, interruption.signal);
  } finally {
    clearTimeout(overtime);
    run.kill();
    await Promise.race([site.remove(), sleep(cleanUpLimitMs, undefined, { ref: false })]);
  }
}

/** Leaves a moment after the interruption for repairs, and no longer, even if something hangs. */
async function rejectAfter(interruption: AbortSignal): Promise<never> {
  await new Promise((resolve) => interruption.addEventListener("abort", resolve, { once: true }));
  await sleep(repairLimitMs, undefined, { ref: false });
  throw interruption.reason;
}

function explain(error: unknown, interruption: AbortSignal): number {
  const reason: unknown = interruption.aborted ? interruption.reason : error;
  if (typeof reason === "string") {
    console.error(`${reason}: the soak has ended all its processes.`);
    return 128 + constants.signals[reason as NodeJS.Signals];
  }
  console.error(`The soak failed: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`);
  return 1;
}

runCommand({ usage, parse: parseOptions, run: soak });
