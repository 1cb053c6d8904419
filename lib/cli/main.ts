#!/usr/bin/env node
import { exitCodeOfSignal } from "./failure";
import { runProgram } from "./program";

/** How long a command may take to end in order once it was asked to. */
const graceMs = 5_000;

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // The second time is meant.
    if (interruption.signal.aborted) process.exit(exitCodeOfSignal(signal));
    interrupt(signal);
  });
}
for (const stream of [process.stdout, process.stderr]) {
  // Whoever read it has gone, as `head` does: no reason for an error.
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    interrupt("SIGPIPE");
  });
}

function interrupt(signal: NodeJS.Signals): void {
  interruption.abort(signal);
  setTimeout(() => process.exit(exitCodeOfSignal(signal)), graceMs).unref();
}

void runProgram(process.argv.slice(2), {
  in: process.stdin,
  out: process.stdout,
  err: process.stderr,
  env: process.env,
  interrupted: interruption.signal,
}).then((exitCode) => {
  process.exitCode = exitCode;
});
