import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { prepareBinaries } from "../../lib/embedded/binaries";
import type { Binaries } from "../../lib/embedded/binaries";
import { findPackageRoot } from "../../lib/embedded/package-root";
import { findServerAccount } from "../../lib/embedded/unprivileged";
import { itAsOrdinaryUser, itAsRoot, itWhere } from "../support/where";
import { tempFolder } from "./support/temp-folder";

const folder = tempFolder();
const onWindows = process.platform === "win32";
const itOnUnix = itWhere(!onWindows, "Windows needs no links.");

/** A package as `npm install --ignore-scripts` leaves it: no links. */
function installWithoutScripts(name: string): string {
  const packageRoot = join(folder, name);
  cpSync(join(findPackageRoot(), "native"), join(packageRoot, "native"), {
    recursive: true,
    filter: (path) => !lstatSync(path).isSymbolicLink() && !path.endsWith(".a"),
  });
  return packageRoot;
}

function linksIn(library: string): string[] {
  return readdirSync(library).filter((name) => lstatSync(join(library, name)).isSymbolicLink());
}

async function prepare(packageRoot: string): Promise<{ binaries: Binaries; runFolder: string }> {
  const runFolder = mkdtempSync(join(folder, "run-"));
  chmodSync(runFolder, 0o755);
  const account = await findServerAccount(undefined);
  const deadline = AbortSignal.timeout(30_000);
  return { binaries: await prepareBinaries({ packageRoot, runFolder, account, deadline }), runFolder };
}

itOnUnix("makes the links that a skipped install script left out, from several processes at once", async () => {
  const packageRoot = installWithoutScripts("no-links");
  const library = join(packageRoot, "native", "lib");
  expect(linksIn(library)).toEqual([]);
  const prepared = await Promise.all([prepare(packageRoot), prepare(packageRoot), prepare(packageRoot)]);
  for (const { binaries, runFolder } of prepared) {
    expect(binaries.postgres).toBe(join(packageRoot, "native", "bin", "postgres"));
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
  const { binaries } = await prepare(packageRoot);
  expect(binaries.initdb).toBe(join(packageRoot, "native", "bin", "initdb"));
  expect(lstatSync(binaries.initdb).mode & 0o777).toBe(0o755);
});

itAsRoot()("uses a copy when the server's account may not enter the package's folder", async () => {
  const home = join(folder, "home-of-root");
  const packageRoot = installWithoutScripts(join("home-of-root", "package"));
  chmodSync(home, 0o700);
  const { binaries, runFolder } = await prepare(packageRoot);
  expect(binaries.postgres).toBe(join(runFolder, "binaries", "native", "bin", "postgres"));
});

// Root may write to a read-only folder.
itAsOrdinaryUser()("uses a copy when the package cannot be changed", async () => {
  const packageRoot = installWithoutScripts("read-only");
  const library = join(packageRoot, "native", "lib");
  chmodSync(library, 0o555);
  try {
    const { binaries, runFolder } = await prepare(packageRoot);
    expect(binaries.postgres).toBe(join(runFolder, "binaries", "native", "bin", "postgres"));
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
