#!/usr/bin/env node
import { exitCodeOfSignal } from "./exit-codes";
import { runProgram } from "./program";

/** Longest time that a command may take to end after a signal. */
const maxShutdownMs = 5_000;
/**
 * Time after the end of an interrupted command in which the process ends by itself. The standard input, or a connection
 * that is still being made, would keep it alive.
 */
const lingerMs = 200;

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // A second signal ends the program at once.
    if (interruption.signal.aborted) process.exit(exitCodeOfSignal(signal));
    interrupt(signal);
  });
}
for (const stream of [process.stdout, process.stderr]) {
  // The reader of a pipe has exited, as `head` does. That is not an error.
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    interrupt("SIGPIPE");
  });
}

function interrupt(signal: NodeJS.Signals): void {
  interruption.abort(signal);
  setTimeout(() => process.exit(exitCodeOfSignal(signal)), maxShutdownMs).unref();
}

// Exported, since bundlers take a file without exports for CommonJS, and then wrap every module that it imports.
export const ended: Promise<void> = runProgram(process.argv.slice(2), {
  in: process.stdin,
  out: process.stdout,
  err: process.stderr,
  env: process.env,
  interrupted: interruption.signal,
}).then((exitCode) => {
  process.exitCode = exitCode;
  if (interruption.signal.aborted) setTimeout(() => process.exit(), lingerMs).unref();
});
