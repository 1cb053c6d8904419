import { execFile, type PromiseWithChild } from "node:child_process";
import { access, chown, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { EmbeddedPostgresError } from "./options";

const execute = promisify(execFile);

// `postgres` first: processes of `nobody` may signal each other, and there are often some.
const accountNames = ["postgres", "nobody"];

interface AccountIds {
  readonly uid: number;
  readonly gid: number;
}

/** Account that the server runs as. Postgres refuses to run as root, so root hands over to another account. */
export class Account {
  readonly #name: string;
  readonly #ids: AccountIds | undefined;

  private constructor(name: string, ids?: AccountIds) {
    this.#name = name;
    this.#ids = ids;
  }

  /** Account of this process. */
  static readonly own = new Account("of this process");

  /**
   * Finds the account for a server: the own one, unless this process runs as root. Root uses the owner of an existing
   * cluster in `dataDir`, else an existing account; it never creates one.
   *
   * @throws {@link EmbeddedPostgresError} This process runs as root, and there is no such account.
   */
  static async find(dataDir: string | undefined): Promise<Account> {
    if (process.getuid?.() !== 0) return Account.own;
    const owner = dataDir === undefined ? undefined : await ownerOfCluster(dataDir);
    if (owner !== undefined) return new Account(`with uid ${owner.uid}`, owner);
    for (const name of accountNames) {
      const ids = await lookUp(name);
      if (ids !== undefined) return new Account(name, ids);
    }
    throw new EmbeddedPostgresError(
      "not-runnable",
      "Postgres refuses to run as root, and there is no account postgres or nobody to run it as. " +
        "Start as an ordinary user, or use a server of your own through DATABASE_URL.",
    );
  }

  /** Name for error messages. */
  get description(): string {
    return `the account ${this.#name}`;
  }

  /** Spawn options that make a process run as this account. */
  get identity(): Partial<AccountIds> {
    // `spawn` insists on signed numbers; on macOS the uid of `nobody` is 4294967294.
    return this.#ids === undefined ? {} : { uid: this.#ids.uid | 0, gid: this.#ids.gid | 0 };
  }

  /** Gives a file or folder to this account. */
  async take(path: string): Promise<void> {
    if (this.#ids !== undefined) await chown(path, this.#ids.uid, this.#ids.gid);
  }

  /** Returns whether the account may enter a folder, for which it must be able to enter every folder above it. */
  async canEnter(folder: string): Promise<boolean> {
    if (this.#ids === undefined) return true;
    let current = await realpath(folder);
    for (;;) {
      const { uid, gid, mode } = await stat(current);
      const executeBit = uid === this.#ids.uid ? 0o100 : gid === this.#ids.gid ? 0o010 : 0o001;
      if ((mode & executeBit) === 0) return false;
      const parent = dirname(current);
      if (parent === current) return true;
      current = parent;
    }
  }

  /**
   * Runs a program of Postgres to its end; rejects with its standard error if it fails.
   *
   * @param cwd - A folder that the account can enter, since Postgres asks for it.
   * @param signal - Ends the program.
   */
  run(file: string, args: readonly string[], cwd: string, signal: AbortSignal): PromiseWithChild<unknown> {
    return execute(file, args, { cwd, signal, env: serverEnvironment(), windowsHide: true, ...this.identity });
  }
}

/**
 * Returns the environment for the programs of Postgres: without PGPORT, PGDATA and the like, which are meant for
 * another server, and with the locale C, which exists everywhere.
 */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(PG|LC_|LANG)/.test(name));
  return { ...Object.fromEntries(kept), LC_ALL: "C" };
}

async function ownerOfCluster(dataDir: string): Promise<AccountIds | undefined> {
  try {
    await access(join(dataDir, "PG_VERSION"));
    const { uid, gid } = await stat(dataDir);
    return uid === 0 ? undefined : { uid, gid };
  } catch {
    return undefined; // No cluster yet.
  }
}

// `id`, not /etc/passwd: it also knows the accounts of directory services.
async function lookUp(name: string): Promise<AccountIds | undefined> {
  try {
    const idOf = async (flag: string): Promise<number> => Number((await execute("id", [flag, name])).stdout);
    return { uid: await idOf("-u"), gid: await idOf("-g") };
  } catch {
    return undefined; // `id` fails for an unknown name.
  }
}
