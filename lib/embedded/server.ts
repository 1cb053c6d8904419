import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { settledWithin } from "../database/race";
import { type Account, serverEnvironment } from "./account";
import type { Folders } from "./folders";
import { EmbeddedPostgresError } from "./options";
import { exitHooks, type Stoppable, type Watchdog } from "./process-end";
import type { Programs } from "./programs";

/**
 * Way to stop the server. `fast` ends connections and writes a checkpoint. `immediate` ends like a crash, from which
 * the next start recovers.
 */
export type StopMode = "fast" | "immediate";

/**
 * A running Postgres server. It does not keep the process alive, and ends with it, however the process ends. With
 * `await using` it is stopped at the end of the block.
 */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** Connection string of the database `postgres` for its superuser `postgres`, with the password. */
  readonly url: string;
  /** TCP port on 127.0.0.1. */
  readonly port: number;
  /** Absolute path of the data folder. */
  readonly dataDir: string;
  /** Absolute path of the server's log, which `stop` removes. */
  readonly logFile: string;
  /**
   * Resolves when the server has ended and its temporary folder is removed. Open connections get an error. Every call
   * returns the same promise, so the mode of the first call counts.
   *
   * @param mode - Default `fast`. After `immediate` the next start on the same `dataDir` has to recover, which loses
   * nothing.
   * @throws {@link EmbeddedPostgresError} The server did not end within 30 s, even when killed.
   */
  stop(mode?: StopMode): Promise<void>;
}

/** Settings and paths of a server. */
export interface ServerContext {
  readonly programs: Programs;
  readonly folders: Folders;
  readonly account: Account;
  readonly watchdog: Watchdog;
  /** Ends the start of the server. */
  readonly deadline: AbortSignal;
}

/** The server is for the programs of this machine only. */
const host = "127.0.0.1";
const pollIntervalMs = 10;
// A fast stop writes a checkpoint, which takes as long as the disk needs. After SIGQUIT Postgres gives its own
// processes 5 s before it kills them.
const stopSteps = [
  { signal: "SIGINT", waitMs: 20_000 },
  { signal: "SIGQUIT", waitMs: 8_000 },
  { signal: "SIGKILL", waitMs: 2_000 },
] as const;

/** The server process, together with the folders and the watchdog that end with it. */
export class Server implements EmbeddedPostgres, Stoppable {
  readonly url: string;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #context: ServerContext;
  readonly #exited: Promise<unknown>;
  #stopped: Promise<void> | undefined;

  private constructor(child: ChildProcess, context: ServerContext, password: string, port: number) {
    this.url = urlOf(port, password);
    this.port = port;
    this.#child = child;
    this.#context = context;
    // Not `once` of node:events, whose promise would also reject on "error".
    this.#exited = new Promise((resolve) => child.once("exit", resolve));
    // Emitted when a signal could not be sent. `stop` then sees that the process does not exit.
    child.on("error", () => undefined);
  }

  /**
   * Spawns the process. Resolves once clients can log in; from then on the server does not keep this process alive.
   *
   * @throws {@link EmbeddedPostgresError} The server exited, or was not ready when the deadline aborted.
   */
  static async start(
    context: ServerContext,
    password: string,
    port: number,
    settings: Readonly<Record<string, string>>,
  ): Promise<Server> {
    const { programs, folders, account, watchdog } = context;
    const log = await open(folders.logFile, "a", 0o600);
    let server: Server;
    try {
      const child = spawn(programs.postgres, ["-D", folders.data, ...settingArguments(port, settings)], {
        // In a process group of its own: Ctrl-C in a terminal reaches the whole group, and the server has to end after
        // us.
        detached: true,
        stdio: ["ignore", log.fd, log.fd],
        cwd: folders.run,
        env: serverEnvironment(),
        windowsHide: true,
        ...account.identity,
      });
      server = new Server(child, context, password, port);
      await once(child, "spawn");
    } catch (cause) {
      throw new EmbeddedPostgresError("start-failed", `Could not run ${programs.postgres}.`, { cause });
    } finally {
      await log.close();
    }
    watchdog.watch(server.#child.pid);
    try {
      await server.#untilReady();
    } catch (error) {
      await server.#end("immediate");
      throw error;
    }
    server.#child.unref();
    exitHooks.add(server);
    return server;
  }

  get dataDir(): string {
    return this.#context.folders.data;
  }

  get logFile(): string {
    return this.#context.folders.logFile;
  }

  stop(mode: StopMode = "fast"): Promise<void> {
    return (this.#stopped ??= this.#stop(mode));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  stopNow(): void {
    const { folders, watchdog } = this.#context;
    if (!this.#hasExited) {
      this.#signal("SIGQUIT");
      // Watches the lock file, not the process id: while this runs, Node does not collect the child, so its id stays in
      // use.
      const endsAt = Date.now() + 8_000;
      while (existsSync(folders.lockFile) && Date.now() < endsAt) sleepNow(pollIntervalMs);
      this.#signal("SIGKILL");
    }
    folders.removeNow();
    watchdog.dismiss();
  }

  async #stop(mode: StopMode): Promise<void> {
    const { folders, watchdog } = this.#context;
    await this.#end(mode);
    await folders.remove();
    // Last, so that an exit during the stop still cleans up. If the stop fails, the hook and the watchdog try again at
    // exit.
    exitHooks.delete(this);
    await watchdog.close();
  }

  /** Resolves when the process has ended. If one signal has no effect in time, a stronger one follows. */
  async #end(mode: StopMode): Promise<void> {
    this.#child.ref();
    for (const { signal, waitMs } of stopSteps.slice(mode === "fast" ? 0 : 1)) {
      if (this.#hasExited) break;
      this.#signal(signal);
      await settledWithin(this.#exited, waitMs);
    }
    if (!this.#hasExited) {
      const message = `The Postgres server (process ${String(this.#child.pid)}) could not be stopped.`;
      throw new EmbeddedPostgresError("stop-failed", message);
    }
    // From here on its process id may belong to another process.
    this.#context.watchdog.watch(undefined);
  }

  async #untilReady(): Promise<void> {
    while (!(await this.#isReady())) {
      if (this.#hasExited) throw await this.#startFailure("The Postgres server exited while starting.");
      if (this.#context.deadline.aborted) throw await this.#startFailure("The Postgres server was not ready in time.");
      await sleep(pollIntervalMs);
    }
  }

  get #hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  // As pg_ctl does it. A login could reach a server of another process that was given the same port.
  async #isReady(): Promise<boolean> {
    const lock = await readFile(this.#context.folders.lockFile, "utf8").catch(() => ""); // Not written yet.
    const lines = lock.split("\n");
    return Number(lines[0]) === this.#child.pid && lines[7]?.trim() === "ready";
  }

  #signal(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): void {
    if (process.platform !== "win32" || signal === "SIGKILL") {
      this.#child.kill(signal);
      return;
    }
    // Windows has no signals. pg_ctl reaches the server through a named pipe.
    const args = ["kill", signal === "SIGINT" ? "INT" : "QUIT", String(this.#child.pid)];
    spawnSync(this.#context.programs.pgCtl, args, { windowsHide: true, timeout: 5_000 });
  }

  async #startFailure(message: string): Promise<EmbeddedPostgresError> {
    const log = await readFile(this.#context.folders.logFile, "utf8").catch(() => "");
    const tail = log.trimEnd().split("\n").slice(-20).join("\n");
    return new EmbeddedPostgresError("start-failed", `${message} The end of its log:\n${tail}`);
  }
}

function urlOf(port: number, password: string): string {
  // Override the variables PGSSLMODE, PGOPTIONS and PGSSLNEGOTIATION, which are meant for another server. `pg` takes an
  // empty value for a missing one, hence the space.
  let parameters = "sslmode=disable&options=%20";
  // Only if needed: clients of libpq before 17 reject the parameter.
  if (process.env["PGSSLNEGOTIATION"]) parameters += "&sslnegotiation=postgres";
  return `postgresql://postgres:${password}@${host}:${port}/postgres?${parameters}`;
}

/** Returns a port that is free now. Another process may take it before the server does, so be ready to ask again. */
export async function pickFreePort(): Promise<number> {
  const probe = createServer().listen(0, host);
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/** Returns whether another process holds `port` now. A port that is forbidden is not taken. */
export function isPortTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code === "EADDRINUSE"));
    probe.listen(port, host, () => probe.close(() => resolve(false)));
  });
}

function settingArguments(port: number, settings: Readonly<Record<string, string>>): string[] {
  // No Unix socket: its folder would need the right owner, and its path may be at most 107 bytes long.
  const all = { ...settings, listen_addresses: host, port: String(port), unix_socket_directories: "" };
  return Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

function sleepNow(durationMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, durationMs);
}
