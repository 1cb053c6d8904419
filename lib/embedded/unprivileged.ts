import { execFile } from "node:child_process";
import { access, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { EmbeddedPostgresError } from "./errors";

/** An account of the operating system that the server runs as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

// `postgres` first: processes of `nobody` may signal each other, and there are often some.
const ACCOUNT_NAMES = ["postgres", "nobody"];

/**
 * The account that the server has to run as, or undefined for the caller's own. Postgres refuses to run as root, so root
 * hands over to the owner of an existing cluster in `dataDir`, else to an account that exists already; none is created.
 *
 * @throws {@link EmbeddedPostgresError} The caller is root, and there is no such account.
 */
export async function findServerAccount(dataDir: string | undefined): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const owner = dataDir === undefined ? undefined : await ownerOfCluster(dataDir);
  if (owner) return owner;
  for (const name of ACCOUNT_NAMES) {
    const account = await lookUp(name);
    if (account) return account;
  }
  throw new EmbeddedPostgresError(
    "not-runnable",
    "Postgres refuses to run as root, and there is no account postgres or nobody to run it as. Start as an ordinary user, or use a server of your own through DATABASE_URL.",
  );
}

/** Whether `account` may enter `folder`, which takes the right to enter every folder above it too. */
export async function canEnter(account: Account, folder: string): Promise<boolean> {
  let current = await realpath(folder);
  for (;;) {
    const { uid, gid, mode } = await stat(current);
    const executeBit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001;
    if ((mode & executeBit) === 0) return false;
    const parent = dirname(current);
    if (parent === current) return true;
    current = parent;
  }
}

async function ownerOfCluster(dataDir: string): Promise<Account | undefined> {
  try {
    await access(join(dataDir, "PG_VERSION"));
    const { uid, gid } = await stat(dataDir);
    return uid === 0 ? undefined : { name: `with uid ${uid}`, uid, gid };
  } catch {
    return undefined; // No cluster there yet.
  }
}

// `id` and not /etc/passwd: it also knows accounts of a directory service.
async function lookUp(name: string): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all(
      ["-u", "-g"].map(async (flag) => Number((await run("id", [flag, name])).stdout)),
    );
    return uid !== undefined && gid !== undefined && uid > 0 ? { name, uid, gid } : undefined;
  } catch {
    return undefined; // `id` fails for a name it does not know.
  }
}

const run = promisify(execFile);
