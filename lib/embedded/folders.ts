import { rmSync } from "node:fs";
import { chown, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { EmbeddedPostgresError } from "./errors";
import type { CheckedOptions } from "./options";
import { canEnter } from "./unprivileged";
import type { Account } from "./unprivileged";

// A server that was killed leaves processes which go on for a moment, and may still write.
const REMOVAL = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 };

/** The folders of one server: a temporary one for the log and the like, and the one with the data. */
export class Folders {
  private constructor(
    /** Temporary folder of this run. */
    readonly run: string,
    /** Data folder of the cluster; inside `run` unless the options name one. */
    readonly data: string,
    /** Whether the data folder holds a cluster from an earlier start. */
    readonly hasCluster: boolean,
    /** Whether the data folder stays at stop. */
    readonly keepsData: boolean,
  ) {}

  /** Makes the folders, and gives them to `account`. */
  static async create({ dataDir, persistent }: CheckedOptions, account: Account | undefined): Promise<Folders> {
    // First, since it fails more often; then there is nothing to take back.
    const named = dataDir === undefined ? undefined : await openDataFolder(dataDir, account);
    const run = await createRunFolder(account);
    const data = dataDir ?? join(run, "data");
    if (!named) await mkdirFor(account, data);
    const keepsData = named !== undefined && (persistent || !named.isNew);
    return new Folders(run, data, named?.hasCluster ?? false, keepsData);
  }

  get logFile(): string {
    return join(this.run, "server.log");
  }

  /** Postgres keeps it while it runs: its process id, its port, and in line 8 whether it is ready. */
  get lockFile(): string {
    return join(this.data, "postmaster.pid");
  }

  /** What goes at stop. */
  get removable(): readonly string[] {
    return this.keepsData ? [this.run] : [this.data, this.run];
  }

  /** Removes what does not have to stay. */
  async remove(): Promise<void> {
    for (const folder of this.removable) await rm(folder, REMOVAL);
  }

  /** The same, before it returns. */
  removeNow(): void {
    for (const folder of this.removable) rmSync(folder, REMOVAL);
  }
}

async function openDataFolder(
  dataDir: string,
  account: Account | undefined,
): Promise<{ isNew: boolean; hasCluster: boolean }> {
  const isNew = (await mkdir(dataDir, { recursive: true, mode: 0o700 })) !== undefined;
  const names = await readdir(dataDir);
  const hasCluster = names.includes("PG_VERSION");
  if (names.length > 0 && !hasCluster) {
    throw new EmbeddedPostgresError(
      "data-folder",
      `The folder ${dataDir} holds files, but no Postgres cluster (such as ${names[0] ?? ""}). Name an empty or a new folder as dataDir.`,
    );
  }
  // Not the folder of an existing cluster: that belongs to the account already, with all that is in it.
  if (account && !hasCluster) await chown(dataDir, account.uid, account.gid);
  if (account && !(await canEnter(account, dataDir))) {
    throw new EmbeddedPostgresError(
      "data-folder",
      `Postgres refuses to run as root, and the account ${account.name}, which it is run as, may not enter ${dataDir}. Name a dataDir elsewhere, such as below /var/tmp.`,
    );
  }
  return { isNew, hasCluster };
}

async function createRunFolder(account: Account | undefined): Promise<string> {
  let reason: Error | undefined;
  for (const parent of tempFolders()) {
    try {
      // The temporary folder of root may be closed to all others.
      if (account && !(await canEnter(account, parent))) continue;
      const run = await mkdtemp(join(parent, "kojin-postgres-"));
      if (account) await chown(run, account.uid, account.gid);
      return run;
    } catch (error) {
      reason ??= error as Error;
    }
  }
  throw new EmbeddedPostgresError(
    "temp-folder",
    `No folder can be made in ${tempFolders().join(" or ")}. Set TMPDIR to a folder that exists and is writable.${reason === undefined ? "" : ` ${String(reason)}`}`,
    { cause: reason },
  );
}

/** The folders to try, in order. TMPDIR may name one that is missing or read-only, such as that of a finished job. */
function tempFolders(): string[] {
  // Absolute, since the programs of Postgres run in a working folder of their own.
  const named = resolve(tmpdir());
  return process.platform === "win32" || named === "/tmp" ? [named] : [named, "/tmp"];
}

async function mkdirFor(account: Account | undefined, folder: string): Promise<void> {
  await mkdir(folder, { mode: 0o700 });
  if (account) await chown(folder, account.uid, account.gid);
}
