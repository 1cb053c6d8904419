// npm run demo [-- FOLDER]
//
// Every file below FOLDER becomes a task. Two worker processes determine its size, lines and SHA-256 and store them; a
// third process waits for the results. They share only a Postgres server and the ids of the tasks. Read worker.ts and
// waiter.ts first, then demo.ts, which brings them together.

import { randomUUID } from "node:crypto";
import { constants } from "node:os";
import { join, resolve } from "node:path";
import { runDemo } from "./demo";
import { type FileTask, listFileTasks } from "./tasks";

async function main(): Promise<number> {
  const interruption = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interruption.abort(signal));

  const runId = randomUUID().slice(0, 8);
  // npm changes to the package's folder. INIT_CWD is where the command was typed.
  const folder = resolve(process.env["INIT_CWD"] ?? "", process.argv[2] ?? join(__dirname, "../../lib"));
  let files: FileTask[];
  try {
    files = await listFileTasks(folder, runId);
  } catch (error) {
    console.error(`The demo cannot read the folder ${folder}: ${messageOf(error)}`);
    return 2;
  }
  try {
    await runDemo({ runId, folder, files }, interruption.signal);
    return 0;
  } catch (error) {
    if (interruption.signal.aborted) return exitCodeOf(interruption.signal.reason as NodeJS.Signals);
    console.error(`The demo failed: ${messageOf(error)}`);
    return 1;
  }
}

function messageOf(error: unknown): string {
  // With `await using`, a failed clean-up would otherwise hide the first error.
  if (error instanceof Error && "suppressed" in error) return messageOf(error.suppressed);
  return error instanceof Error ? error.message : String(error);
}

/** As a shell reports a program that was ended by a signal. */
function exitCodeOf(signal: NodeJS.Signals): number {
  console.error(`${signal}: the demo has ended all its processes.`);
  return 128 + constants.signals[signal];
}

void main().then((exitCode) => {
  process.exitCode = exitCode;
});
