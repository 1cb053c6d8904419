import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { Socket } from "node:net";

import { EmbeddedPostgresError } from "./errors";

/**
 * Ends the server when this process dies without a chance to do so itself (SIGKILL, out of memory, a crash). A detached
 * helper process holds one end of a pipe; the system closes the pipe with this process, however that ends.
 */
export class Watchdog {
  readonly #child: ChildProcess;
  readonly #pipe: Socket;

  private constructor(child: ChildProcess, pipe: Socket) {
    this.#child = child;
    this.#pipe = pipe;
    // The helper goes away before the pipe does, and may be gone when it is sent away; neither is a failure.
    pipe.on("error", () => undefined);
    child.on("error", () => undefined);
    // Neither may keep a finished program alive: its end is what the helper waits for.
    child.unref();
    pipe.unref();
  }

  /**
   * @param lockFile - The server's `postmaster.pid`; it is gone once the server has ended.
   * @param folders - Removed after the server has ended.
   */
  static async start(lockFile: string, folders: readonly string[]): Promise<Watchdog> {
    const child = spawn(process.execPath, ["-e", WATCHDOG_SCRIPT, "--", lockFile, ...folders], {
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
      throw new EmbeddedPostgresError("start-failed", `Could not run ${process.execPath} to watch the server.`, {
        cause,
      });
    }
    if (!(child.stdin instanceof Socket)) throw new TypeError("expected a pipe to the watchdog");
    return new Watchdog(child, child.stdin);
  }

  /** Names the process to end; 0 for none. The last call counts. */
  watch(processId: number): void {
    this.#pipe.write(`${processId}\n`);
  }

  /** Sends the helper away without waiting; for the exit of the process. */
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

// A string, not a file: plain Node has to run it, also when this module was loaded from TypeScript by tsx or Jest.
// SIGQUIT ends Postgres at once and leaves nothing that its next start cannot recover. The lock file, whose
// first line is the process id, is looked at too: until an init process collects it, a dead server still answers to signal 0.
const WATCHDOG_SCRIPT = `
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
