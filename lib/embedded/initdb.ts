import { randomBytes } from "node:crypto";
import { chown, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Binaries } from "./binaries";
import { runCommand } from "./command";
import { EmbeddedPostgresError } from "./errors";
import type { Folders } from "./folders";
import type { Account } from "./unprivileged";

/** What {@link openCluster} works with. */
export interface ClusterContext {
  readonly binaries: Binaries;
  readonly folders: Folders;
  readonly account: Account | undefined;
  readonly deadline: AbortSignal;
  /** Told the process id of initdb. */
  readonly onStart: (processId: number) => void;
}

/**
 * Makes the cluster if there is none yet, and gives the password of its user `postgres`.
 *
 * @throws {@link EmbeddedPostgresError} initdb failed, or the cluster is not one of ours.
 */
export async function openCluster(context: ClusterContext): Promise<string> {
  const { folders, account } = context;
  const passwordFile = join(folders.data, "kojin-postgres.password");
  if (folders.hasCluster) return readPassword(passwordFile, folders.data);
  const password = randomBytes(24).toString("base64url");
  const newPasswordFile = join(folders.run, "password");
  await writeFile(newPasswordFile, password, { mode: 0o600 });
  if (account) await chown(newPasswordFile, account.uid, account.gid);
  await runInitdb(context, newPasswordFile);
  await keepPassword(newPasswordFile, passwordFile, password, account);
  return password;
}

async function runInitdb(context: ClusterContext, passwordFile: string): Promise<void> {
  const { binaries, folders, account, deadline, onStart } = context;
  // Of all locales only C is on every machine and in every version.
  const flags = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"];
  // Data that goes at stop need not survive a power failure in its first second. The server itself does flush.
  if (!folders.keepsData) flags.push("--no-sync");
  try {
    await runCommand(binaries.initdb, [`--pgdata=${folders.data}`, `--pwfile=${passwordFile}`, ...flags], {
      account,
      cwd: folders.run,
      deadline,
      onStart,
    });
  } catch (cause) {
    throw new EmbeddedPostgresError(
      "start-failed",
      `initdb could not make a Postgres cluster in ${folders.data}. ${String(cause)}`,
      { cause },
    );
  }
}

// In the cluster's own folder, which only its owner may enter, so that the two cannot be parted. Written last and moved
// into place: a cluster without this file is one whose initdb was cut short. Postgres ignores files it does not know.
async function keepPassword(from: string, to: string, password: string, account: Account | undefined): Promise<void> {
  const draft = `${to}.new`;
  await writeFile(draft, password, { mode: 0o600, flush: true });
  if (account) await chown(draft, account.uid, account.gid);
  await rename(draft, to);
  await rm(from);
}

async function readPassword(passwordFile: string, dataDir: string): Promise<string> {
  try {
    return await readFile(passwordFile, "utf8");
  } catch (cause) {
    throw new EmbeddedPostgresError(
      "data-folder",
      `The Postgres cluster in ${dataDir} was not made by startEmbeddedPostgres, or not to the end: ${passwordFile} cannot be read. ` +
        "Name another dataDir, or remove this one if its data is not needed.",
      { cause },
    );
  }
}
