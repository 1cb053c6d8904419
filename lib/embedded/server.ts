import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { open, readFile, rename, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { settledWithin } from "../database/race";
import { type Account, serverEnvironment } from "./account";
import type { Folders } from "./folders";
import { EmbeddedPostgresError } from "./options";
import type { Watchdog } from "./process-end";
import type { Programs } from "./programs";

/**
 * How to stop the server: `fast` ends connections and writes what is in memory; `immediate` ends like a crash, from
 * which the next start recovers.
 */
export type StopMode = "fast" | "immediate";

/** What a server runs with. */
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

/**
 * Creates the cluster unless there is one, and returns the password of its user `postgres`.
 *
 * @throws {@link EmbeddedPostgresError} initdb failed, or startEmbeddedPostgres did not create the existing cluster.
 */
export async function openCluster(context: ServerContext): Promise<string> {
  const { folders, account } = context;
  const passwordFile = join(folders.data, "kojin-postgres.password");
  if (folders.hasCluster) return readPassword(passwordFile, folders.data);
  const password = randomBytes(24).toString("base64url");
  const writeOwn = async (file: string): Promise<string> => {
    await writeFile(file, password, { mode: 0o600, flush: true });
    await account.take(file);
    return file;
  };
  await runInitdb(context, await writeOwn(join(folders.run, "password")));
  // Kept in the data folder, so that the two cannot be separated; Postgres ignores unknown files there. Renamed into
  // place last: a cluster without this file is one whose initdb was interrupted.
  await rename(await writeOwn(`${passwordFile}.new`), passwordFile);
  return password;
}

async function runInitdb(context: ServerContext, passwordFile: string): Promise<void> {
  const { programs, folders, account, watchdog, deadline } = context;
  const args = [
    ...[`--pgdata=${folders.data}`, `--pwfile=${passwordFile}`, "--username=postgres", "--auth=scram-sha-256"],
    // C is the only locale that exists on every machine and in every version.
    ...["--encoding=UTF8", "--locale=C"],
    // Temporary data need not survive a power failure during initdb. The server itself does flush.
    ...(folders.keepsData ? [] : ["--no-sync"]),
  ];
  try {
    const running = account.run(programs.initdb, args, folders.run, deadline);
    watchdog.watch(running.child.pid);
    await running;
  } catch (cause) {
    const message = `initdb could not create a Postgres cluster in ${folders.data}. ${String(cause)}`;
    throw new EmbeddedPostgresError("start-failed", message, { cause });
  } finally {
    watchdog.watch(undefined);
  }
}

async function readPassword(passwordFile: string, dataDir: string): Promise<string> {
  try {
    return await readFile(passwordFile, "utf8");
  } catch (cause) {
    throw new EmbeddedPostgresError(
      "data-folder",
      `The Postgres cluster in ${dataDir} was not made by startEmbeddedPostgres, or not completely: ${passwordFile} cannot ` +
        "be read. Choose another dataDir, or remove this one if you do not need its data.",
      { cause },
    );
  }
}

/** Server process. */
export class Server {
  readonly #child: ChildProcess;
  readonly #context: ServerContext;
  readonly #exited: Promise<unknown>;

  private constructor(
    child: ChildProcess,
    context: ServerContext,
    readonly port: number,
  ) {
    this.#child = child;
    this.#context = context;
    // Not `once` of node:events, whose promise would also reject on "error".
    this.#exited = new Promise((resolve) => child.once("exit", resolve));
    // Emitted when a signal could not be sent. `stop` then sees that the process does not exit.
    child.on("error", () => undefined);
  }

  /** Spawns the process. It is not ready yet. */
  static async launch(
    context: ServerContext,
    port: number,
    settings: Readonly<Record<string, string>>,
  ): Promise<Server> {
    const { programs, folders, account } = context;
    const log = await open(folders.logFile, "a", 0o600);
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
      const server = new Server(child, context, port);
      await once(child, "spawn");
      return server;
    } catch (cause) {
      throw new EmbeddedPostgresError("start-failed", `Could not run ${programs.postgres}.`, { cause });
    } finally {
      await log.close();
    }
  }

  get processId(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Resolves once clients can log in. From then on the server does not keep this process alive.
   *
   * @throws {@link EmbeddedPostgresError} The server exited, or was not ready when the deadline aborted.
   */
  async waitUntilReady(): Promise<void> {
    while (!(await this.#isReady())) {
      if (this.#hasExited) throw await this.#startFailure("The Postgres server exited while starting.");
      if (this.#context.deadline.aborted) throw await this.#startFailure("The Postgres server was not ready in time.");
      await sleep(pollIntervalMs);
    }
    this.#child.unref();
  }

  /** Resolves when the process has ended. If one signal has no effect in time, a stronger one follows. */
  async stop(mode: StopMode): Promise<void> {
    this.#child.ref();
    for (const { signal, waitMs } of stopSteps.slice(mode === "fast" ? 0 : 1)) {
      if (this.#hasExited) return;
      this.#signal(signal);
      await settledWithin(this.#exited, waitMs);
    }
    if (this.#hasExited) return;
    const message = `The Postgres server (process ${String(this.processId)}) could not be stopped.`;
    throw new EmbeddedPostgresError("stop-failed", message);
  }

  /** Ends the process synchronously, while this process exits. */
  stopNow(): void {
    if (this.#hasExited) return;
    this.#signal("SIGQUIT");
    // Watches the lock file, not the process id: while this runs, Node does not collect the child, so its id stays in
    // use.
    const endsAt = Date.now() + 8_000;
    while (existsSync(this.#context.folders.lockFile) && Date.now() < endsAt) sleepNow(pollIntervalMs);
    this.#signal("SIGKILL");
  }

  get #hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  // As pg_ctl does it. A login could reach a server of another process that was given the same port.
  async #isReady(): Promise<boolean> {
    const lock = await readFile(this.#context.folders.lockFile, "utf8").catch(() => ""); // Not written yet.
    const lines = lock.split("\n");
    return Number(lines[0]) === this.processId && lines[7]?.trim() === "ready";
  }

  #signal(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): void {
    if (process.platform !== "win32" || signal === "SIGKILL") {
      this.#child.kill(signal);
      return;
    }
    // Windows has no signals. pg_ctl reaches the server through a named pipe.
    const args = ["kill", signal === "SIGINT" ? "INT" : "QUIT", String(this.processId)];
    spawnSync(this.#context.programs.pgCtl, args, { windowsHide: true, timeout: 5_000 });
  }

  async #startFailure(message: string): Promise<EmbeddedPostgresError> {
    const log = await readFile(this.#context.folders.logFile, "utf8").catch(() => "");
    const tail = log.trimEnd().split("\n").slice(-20).join("\n");
    return new EmbeddedPostgresError("start-failed", `${message} The end of its log:\n${tail}`);
  }
}

/** Returns the connection string of a server. */
export function serverUrl(port: number, password: string): string {
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

/** Returns whether another process holds `port` now. */
export function isPortTaken(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) =>
      error.code === "EADDRINUSE" ? resolve(true) : reject(error),
    );
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
