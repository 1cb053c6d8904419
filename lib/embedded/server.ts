import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "pg";

import type { Binaries } from "./binaries";
import { identityOf, runCommand, serverEnvironment } from "./command";
import { EmbeddedPostgresError } from "./errors";
import type { Folders } from "./folders";
import { HOST } from "./port";
import type { Account } from "./unprivileged";

/**
 * How to end the server: `fast` ends connections and writes what is in memory; `immediate` just ends, as a crash would,
 * and the next start recovers.
 */
export type StopMode = "fast" | "immediate";

/** What one server process is made from. */
export interface ServerContext {
  readonly binaries: Binaries;
  readonly folders: Folders;
  readonly account: Account | undefined;
  readonly port: number;
  readonly password: string;
  readonly settings: Readonly<Record<string, string>>;
}

const POLL_INTERVAL_MS = 10;

// Postgres itself gives its processes 5 s after SIGQUIT before it kills them, hence more than that. A fast stop writes a
// checkpoint first, which takes as long as the disk needs.
const STOP_STEPS = [
  { signal: "SIGINT", waitMs: 20_000 },
  { signal: "SIGQUIT", waitMs: 8_000 },
  { signal: "SIGKILL", waitMs: 2_000 },
] as const;

/** One server process. */
export class Server {
  readonly #child: ChildProcess;
  readonly #context: ServerContext;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcess, context: ServerContext) {
    this.#child = child;
    this.#context = context;
    // Not `once` of node:events, whose promise rejects on "error" too, with nobody to handle it.
    this.#exited = new Promise((resolve) => child.once("exit", resolve));
    // Comes when a signal could not be sent; then `stop` sees that the process does not exit, and says so.
    child.on("error", () => undefined);
  }

  /** Starts the process; it is not ready yet. */
  static async launch(context: ServerContext): Promise<Server> {
    const { binaries, folders, account } = context;
    const log = await open(folders.logFile, "a", 0o600);
    try {
      const child = spawn(binaries.postgres, ["-D", folders.data, ...settingArguments(context)], {
        // A process group of its own: Ctrl-C in a terminal reaches the whole group, and this server ends after us, not with us.
        detached: true,
        stdio: ["ignore", log.fd, log.fd],
        cwd: folders.run,
        env: serverEnvironment(),
        windowsHide: true,
        ...identityOf(account),
      });
      const server = new Server(child, context);
      await once(child, "spawn");
      return server;
    } catch (cause) {
      throw new EmbeddedPostgresError("start-failed", `Could not run ${binaries.postgres}.`, { cause });
    } finally {
      await log.close();
    }
  }

  get processId(): number {
    return this.#child.pid ?? 0;
  }

  get port(): number {
    return this.#context.port;
  }

  get url(): string {
    return `postgresql://postgres:${this.#context.password}@${HOST}:${this.port}/postgres?${connectionParameters()}`;
  }

  get #hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /**
   * Resolves once clients can log in; from then on the server no longer keeps this process alive.
   *
   * @throws {@link EmbeddedPostgresError} The server exited, or was not ready when `deadline` aborted.
   */
  async waitUntilReady(deadline: AbortSignal): Promise<void> {
    while (!(await this.#isReady())) {
      if (this.#hasExited) throw await this.#startFailure("The Postgres server exited while starting.");
      if (deadline.aborted) throw await this.#startFailure("The Postgres server was not ready in time.");
      await sleep(POLL_INTERVAL_MS);
    }
    await this.#logIn();
    this.#child.unref();
  }

  /** Resolves when the process has ended, which is bounded: a mode that does not work is followed by a harsher one. */
  async stop(mode: StopMode): Promise<void> {
    this.#child.ref();
    for (const { signal, waitMs } of STOP_STEPS.slice(mode === "fast" ? 0 : 1)) {
      if (this.#hasExited) return;
      await this.#signal(signal);
      if (await this.#exitsWithin(waitMs)) return;
    }
    throw new EmbeddedPostgresError(
      "stop-failed",
      `The Postgres server (process ${this.processId}) could not be ended.`,
    );
  }

  /** Ends the process before it returns; for the exit of this process. */
  stopNow(): void {
    if (this.#hasExited) return;
    const { binaries, folders } = this.#context;
    if (process.platform === "win32") {
      spawnSync(binaries.pgCtl, ["stop", "-D", folders.data, "-m", "immediate", "-t", "8"], { windowsHide: true });
    } else {
      this.#child.kill("SIGQUIT");
      // The lock file and not the process id: Node collects no dead child while this runs, so the id stays in use.
      const endsAt = Date.now() + 8_000;
      while (existsSync(folders.lockFile) && Date.now() < endsAt) sleepNow(POLL_INTERVAL_MS);
    }
    this.#child.kill("SIGKILL");
  }

  // As pg_ctl does it. Attempts to log in could reach a stranger, if another process was given the same port.
  async #isReady(): Promise<boolean> {
    try {
      const lines = (await readFile(this.#context.folders.lockFile, "utf8")).split("\n");
      return Number(lines[0]) === this.processId && lines[7]?.trim() === "ready";
    } catch {
      return false; // Not written yet.
    }
  }

  async #logIn(): Promise<void> {
    const client = new Client({ connectionString: this.url, connectionTimeoutMillis: 10_000 });
    try {
      await client.connect();
      await client.end();
    } catch (cause) {
      throw await this.#startFailure("Could not log in to the Postgres server that was started.", cause);
    }
  }

  async #signal(signal: (typeof STOP_STEPS)[number]["signal"]): Promise<void> {
    if (process.platform !== "win32" || signal === "SIGKILL") {
      this.#child.kill(signal);
      return;
    }
    // Windows has no signals; pg_ctl reaches the server through a named pipe.
    const { binaries, folders, account } = this.#context;
    const mode = signal === "SIGINT" ? "fast" : "immediate";
    const deadline = AbortSignal.timeout(5_000);
    const args = ["stop", "-D", folders.data, "-m", mode, "-W"];
    // If it fails, the next step is harsher.
    await runCommand(binaries.pgCtl, args, { account, cwd: folders.run, deadline }).catch(() => undefined);
  }

  async #exitsWithin(waitMs: number): Promise<boolean> {
    const timer = new AbortController();
    const timeout = sleep(waitMs, false, { signal: timer.signal }).catch(() => false);
    try {
      return await Promise.race([this.#exited.then(() => true), timeout]);
    } finally {
      timer.abort();
    }
  }

  async #startFailure(message: string, cause?: unknown): Promise<EmbeddedPostgresError> {
    const log = await readFile(this.#context.folders.logFile, "utf8").catch(() => "");
    const tail = log.trimEnd().split("\n").slice(-20).join("\n");
    return new EmbeddedPostgresError("start-failed", `${message} The end of its log:\n${tail}`, { cause });
  }
}

/**
 * Parameters that keep the variables PGSSLMODE, PGOPTIONS and PGSSLNEGOTIATION, which are meant for another server, from changing how clients
 * connect to this one. `pg` takes an empty value for a missing one, hence the space.
 */
function connectionParameters(): string {
  const parameters = "sslmode=disable&options=%20";
  // Not always: clients of libpq before 17 refuse a parameter that they do not know.
  return process.env["PGSSLNEGOTIATION"] ? `${parameters}&sslnegotiation=postgres` : parameters;
}

function settingArguments({ port, settings }: ServerContext): string[] {
  // No Unix socket: its folder would need the right owner, and its path may be at most 107 bytes long.
  const all = { ...settings, listen_addresses: HOST, port: String(port), unix_socket_directories: "" };
  return Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

function sleepNow(durationMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, durationMs);
}
