import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { EmbeddedPostgresError } from "./options";

/** A resource that must not outlive this process. */
export interface Stoppable {
  stop(): Promise<void>;
  /** Stops synchronously, since nothing asynchronous runs any more when a process exits. */
  stopNow(): void;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Stops its resources when the process exits or is told to end. Listens only while it has any. */
export class ExitHooks {
  readonly #running = new Set<Stoppable>();

  add(stoppable: Stoppable): void {
    if (this.#running.size === 0) {
      process.on("exit", this.#onExit);
      for (const signal of signals) process.on(signal, this.#onSignal);
    }
    this.#running.add(stoppable);
  }

  delete(stoppable: Stoppable): void {
    if (!this.#running.delete(stoppable) || this.#running.size > 0) return;
    process.off("exit", this.#onExit);
    this.#ignoreSignals();
  }

  #ignoreSignals(): void {
    for (const signal of signals) process.off(signal, this.#onSignal);
  }

  readonly #onExit = (): void => {
    for (const stoppable of this.#running) stoppable.stopNow();
  };

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    // The program listens too, so it decides whether and when to exit. The exit hook runs then.
    if (process.listenerCount(signal) > 1) return;
    // Before the stop: a second Ctrl-C then ends the process at once, and the watchdog does the rest.
    this.#ignoreSignals();
    void Promise.allSettled([...this.#running].map((stoppable) => stoppable.stop())).then(() => {
      // Again, now without a listener, so that the parent process sees that a signal ended this one.
      process.kill(process.pid, signal);
    });
  };
}

/** Hooks of this process. */
export const exitHooks = new ExitHooks();

/**
 * Ends the server when this process dies without a chance to do so itself (SIGKILL, out of memory, a crash). A detached
 * helper process holds one end of a pipe, which the system closes with this process.
 */
export class Watchdog {
  readonly #child: ChildProcess;
  readonly #pipe: Writable;

  private constructor(child: ChildProcess, pipe: Writable & { unref?(): void }) {
    this.#child = child;
    this.#pipe = pipe;
    // The helper may end before the pipe does, or before it is killed; neither is a failure.
    pipe.on("error", () => undefined);
    child.on("error", () => undefined);
    // The helper waits for the end of this process, so it must not keep it alive.
    child.unref();
    // A socket under Node, and under Bun a stream that never keeps the process alive.
    pipe.unref?.();
  }

  /**
   * @param lockFile - The server's `postmaster.pid`, which is gone once the server has ended.
   * @param folders - Removed after the server has ended.
   */
  static async start(lockFile: string, folders: readonly string[]): Promise<Watchdog> {
    const child = spawn(process.execPath, ["-e", watchdogScript, "--", lockFile, ...folders], {
      // In a session of its own, so that Ctrl-C in the terminal does not reach it.
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      // NODE_OPTIONS may name loaders or an inspector port of this process.
      env: { ...process.env, NODE_OPTIONS: "" },
      windowsHide: true,
    });
    try {
      await once(child, "spawn");
    } catch (cause) {
      const message = `Could not run ${process.execPath} to watch the server.`;
      throw new EmbeddedPostgresError("start-failed", message, { cause });
    }
    return new Watchdog(child, child.stdin);
  }

  /** Names the process to end, or none. The last call counts. */
  watch(processId: number | undefined): void {
    this.#pipe.write(`${processId ?? 0}\n`);
  }

  /** Ends the helper without waiting for it, while this process exits. */
  dismiss(): void {
    this.#child.kill("SIGKILL");
    this.#pipe.destroy();
  }

  /** Resolves when the helper has ended; the server is left alone. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.ref();
    this.dismiss();
    await exited;
  }
}

// A string, not a file: plain Node has to run it even if tsx or Jest loaded this module from TypeScript. SIGQUIT ends
// Postgres at once and leaves nothing that its next start cannot recover. The lock file, whose first line is the
// process id, is checked too: a dead server answers signal 0 until an init process collects it.
const watchdogScript = `
const { readFileSync, rmSync } = require("node:fs");
const [lockFile, ...folders] = process.argv.slice(1);
let text = "";
process.stdin.setEncoding("utf8").on("data", (chunk) => (text += chunk)).on("close", () => {
  const processId = Number(text.trim().split("\\n").at(-1));
  const signal = (name) => {
    try { return processId > 0 && process.kill(processId, name); } catch { return false; }
  };
  signal(process.platform === "win32" ? "SIGKILL" : "SIGQUIT");
  const holdsLock = () => {
    try { return Number.parseInt(readFileSync(lockFile, "utf8")) === processId; } catch { return false; }
  };
  const endsAt = Date.now() + 10_000;
  (function finish() {
    const isRunning = holdsLock() && signal(0);
    if (isRunning && Date.now() < endsAt) return setTimeout(finish, 20);
    if (isRunning) signal("SIGKILL");
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  })();
});
`;
