import { exitHooks } from "./cleanup";
import type { Stoppable } from "./cleanup";
import type { Folders } from "./folders";
import type { Server, StopMode } from "./server";
import type { Watchdog } from "./watchdog";

export type { StopMode } from "./server";

/**
 * A running Postgres server. It does not keep the process alive, and ends with it, however the process ends.
 * `await using` stops it at the end of the block.
 */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** Connection string of the database `postgres` for its superuser `postgres`, with the password. */
  readonly url: string;
  /** TCP port on 127.0.0.1. */
  readonly port: number;
  /** Absolute path of the data folder. */
  readonly dataDir: string;
  /** Absolute path of the server's log, which goes at stop. */
  readonly logFile: string;
  /**
   * Resolves when the server has ended and its temporary folder is gone. Every call gives the same promise, so the mode of
   * the first call counts. Connections that are still open get an error.
   *
   * @param mode - Default `fast`. With `immediate` the next start on the same `dataDir` has to recover, which loses nothing.
   * @throws {@link EmbeddedPostgresError} The server did not end within 30 s, even when killed.
   */
  stop(mode?: StopMode): Promise<void>;
}

/** A server with all that has to go with it. */
export class Cluster implements EmbeddedPostgres, Stoppable {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  readonly logFile: string;
  readonly #server: Server;
  readonly #folders: Folders;
  readonly #watchdog: Watchdog;
  #stopped: Promise<void> | undefined;

  constructor(server: Server, folders: Folders, watchdog: Watchdog) {
    this.url = server.url;
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
    this.#watchdog.watch(0);
    await this.#folders.remove();
    // Last: an exit in the middle of a stop still cleans up. After a failed stop both stay, and try again at exit.
    exitHooks.delete(this);
    await this.#watchdog.close();
  }
}
