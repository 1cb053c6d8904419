import { chmod, copyFile, lstat, mkdir, readdir, readFile, readlink, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";

import { runCommand } from "./command";
import { EmbeddedPostgresError } from "./errors";
import type { Account } from "./unprivileged";

/** The absolute paths of the programs that make up a server. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly pgCtl: string;
}

/** What {@link prepareBinaries} works with. */
export interface BinariesContext {
  /** Folder of the platform package. */
  readonly packageRoot: string;
  /** Temporary folder that a copy may go to; `account` can enter it. */
  readonly runFolder: string;
  readonly account: Account | undefined;
  readonly deadline: AbortSignal;
}

/**
 * Gives programs that are known to run, as `account`. The package is used where it is, if that works. It does not when its
 * install script was skipped and the folder is read-only, or when it lies in a folder that `account` may not enter (a
 * clone below /root); then a copy of its 60 MB in `runFolder` is used.
 *
 * @throws {@link EmbeddedPostgresError} The copy does not run either.
 */
export async function prepareBinaries(context: BinariesContext): Promise<Binaries> {
  const { packageRoot, runFolder } = context;
  try {
    return await makeRunnable(packageRoot, context);
  } catch {
    // Whatever was wrong with the package where it is, the copy shows whether it matters.
  }
  const copyRoot = join(runFolder, "binaries");
  try {
    await copyFolder(join(packageRoot, "native"), join(copyRoot, "native"));
    return await makeRunnable(copyRoot, context);
  } catch (cause) {
    const account = context.account ? ` as the account ${context.account.name}` : "";
    throw new EmbeddedPostgresError(
      "not-runnable",
      `The Postgres programs of ${packageRoot} do not run on this machine${account}; they need glibc, so Alpine Linux cannot run them. ` +
        `Use a server of your own through DATABASE_URL instead. ${String(cause)}`,
      { cause },
    );
  }
}

async function makeRunnable(root: string, { account, runFolder, deadline }: BinariesContext): Promise<Binaries> {
  const suffix = process.platform === "win32" ? ".exe" : "";
  const program = (name: string) => join(root, "native", "bin", name + suffix);
  const binaries = { initdb: program("initdb"), postgres: program("postgres"), pgCtl: program("pg_ctl") };
  await restoreLinks(root);
  // npm keeps the execute bits; an archive or a cache in between may not have. Whether this worked, the runs below tell.
  await Promise.all(Object.values(binaries).map((file) => chmodIfNeeded(file)));
  // Both, since they need different libraries; and really run, since no look at mode bits knows about ACLs or mount options.
  for (const file of [binaries.postgres, binaries.initdb]) {
    await runCommand(file, ["--version"], { account, cwd: runFolder, deadline });
  }
  return binaries;
}

// npm packages cannot contain symbolic links, so the package lists them, and an install script makes them. We do the same
// for those who install with --ignore-scripts. A link that cannot be made is left out: the runs tell whether it is needed.
async function restoreLinks(root: string): Promise<void> {
  for (const { source, target } of await listLinks(root)) {
    if (await exists(join(root, target))) continue;
    // Relative, so that the package can be moved. Another process may have been faster, or the folder is read-only.
    await symlink(relative(dirname(target), source), join(root, target)).catch(() => undefined);
  }
}

/** `source` is the file, `target` the link to it; both relative to the package. */
async function listLinks(root: string): Promise<{ source: string; target: string }[]> {
  try {
    const text = await readFile(join(root, "native", "pg-symlinks.json"), "utf8");
    return JSON.parse(text) as { source: string; target: string }[];
  } catch {
    return []; // The packages for Windows have no such file.
  }
}

async function chmodIfNeeded(file: string): Promise<void> {
  const { mode } = await lstat(file);
  if ((mode & 0o111) !== 0o111) await chmod(file, mode | 0o555).catch(() => undefined);
}

// Not fs.cp: it keeps modes, and a copy made under umask 077 would be as closed to the account as the original.
async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await chmod(to, 0o755);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isDirectory()) {
      await copyFolder(source, target);
    } else if (entry.isSymbolicLink()) {
      await symlink(await readlink(source), target);
    } else {
      await copyFile(source, target);
      await chmod(target, 0o755);
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
