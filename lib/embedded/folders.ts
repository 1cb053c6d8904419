import { rmSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Account } from "./account";
import { EmbeddedPostgresError } from "./options";

// The processes of a server that was killed go on for a moment, and may still write.
const removal = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 };

/** Folders of one server: a temporary one for its log and the like, and one for its data. */
export class Folders {
  private constructor(
    /** Temporary folder of this run. */
    readonly run: string,
    /** Data folder; inside `run` unless the options name one. */
    readonly data: string,
    /** True if the data folder holds a cluster from an earlier start. */
    readonly hasCluster: boolean,
    /** True if the data folder stays after `stop`. */
    readonly keepsData: boolean,
  ) {}

  /** Creates the folders and gives them to `account`. */
  static async create(dataDir: string | undefined, persistent: boolean, account: Account): Promise<Folders> {
    // First, since it fails more often; then there is nothing to remove.
    const found = dataDir === undefined ? undefined : await openDataFolder(dataDir, account);
    const run = await createRunFolder(account);
    if (dataDir === undefined || found === undefined) return new Folders(run, join(run, "data"), false, false);
    return new Folders(run, dataDir, found.hasCluster, persistent || !found.isNew);
  }

  get logFile(): string {
    return join(this.run, "server.log");
  }

  /** File that Postgres keeps while it runs. It holds the process id, the port, and in line 8 the state. */
  get lockFile(): string {
    return join(this.data, "postmaster.pid");
  }

  /** Folders that `stop` removes. */
  get removable(): readonly string[] {
    return this.keepsData ? [this.run] : [this.data, this.run];
  }

  async remove(): Promise<void> {
    for (const folder of this.removable) await rm(folder, removal);
  }

  /** Removes the folders synchronously, while the process exits. */
  removeNow(): void {
    for (const folder of this.removable) rmSync(folder, removal);
  }
}

async function openDataFolder(dataDir: string, account: Account): Promise<{ isNew: boolean; hasCluster: boolean }> {
  const isNew = (await mkdir(dataDir, { recursive: true, mode: 0o700 })) !== undefined;
  const names = await readdir(dataDir);
  const hasCluster = names.includes("PG_VERSION");
  if (names.length > 0 && !hasCluster) {
    throw new EmbeddedPostgresError(
      "data-folder",
      `The folder ${dataDir} holds files (such as ${names[0] ?? ""}) but no Postgres cluster. Choose an empty or a new folder as dataDir.`,
    );
  }
  // The folder of an existing cluster belongs to the account already, with all that is in it.
  if (!hasCluster) await account.take(dataDir);
  if (!(await account.canEnter(dataDir))) {
    throw new EmbeddedPostgresError(
      "data-folder",
      `Postgres refuses to run as root, and ${account.description}, which runs it instead, may not enter ${dataDir}. Choose a dataDir elsewhere, such as below /var/tmp.`,
    );
  }
  return { isNew, hasCluster };
}

async function createRunFolder(account: Account): Promise<string> {
  let cause: Error | undefined;
  for (const parent of tempFolders()) {
    try {
      // The temporary folder of root may be closed to other accounts.
      if (!(await account.canEnter(parent))) continue;
      const run = await mkdtemp(join(parent, "kojin-postgres-"));
      await account.take(run);
      return run;
    } catch (error) {
      cause ??= error as Error;
    }
  }
  const reason = cause === undefined ? "" : ` ${String(cause)}`;
  throw new EmbeddedPostgresError(
    "temp-folder",
    `No folder can be created in ${tempFolders().join(" or ")}. Set TMPDIR to a folder that exists and is writable.${reason}`,
    { cause },
  );
}

/** Returns the folders to try. TMPDIR may name one that is missing or read-only, such as that of a finished job. */
function tempFolders(): string[] {
  // Absolute, since the programs of Postgres run in a working folder of their own.
  const named = resolve(tmpdir());
  return process.platform === "win32" || named === "/tmp" ? [named] : [named, "/tmp"];
}
