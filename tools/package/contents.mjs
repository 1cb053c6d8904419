import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

import { CheckError, root } from "./command.mjs";

const ALLOWED = ["dist", "docs", "sql", "package.json", "README.md", "LICENSE", "llms.txt"];

const MAX_BYTES = 350_000;

/** Fails if the packed package is too large. */
export function checkSize(tarball) {
  const { size } = statSync(tarball);
  if (size > MAX_BYTES) throw new CheckError(`The package has ${size} bytes, more than ${MAX_BYTES}.`);
  return `${(size / 1000).toFixed(1)} kB`;
}

/** Fails unless the installed package has all the files it needs to run and to be read, and no others. */
export function checkContents(installed) {
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  const faults = [
    ...checkTopLevel(installed),
    ...checkSameFiles(installed, "dist", [...reachable(installed, startingPoints(manifest)), "licenses.txt"]),
    ...checkSameFiles(
      installed,
      "docs",
      filesIn(join(root, "docs")).filter((file) => /\.(md|svg)$/.test(file)),
    ),
    ...checkSameFiles(installed, "sql", filesIn(join(root, "sql"))),
    ...checkCommands(installed, manifest),
    ...["README.md", "llms.txt"].flatMap((file) => checkLinks(installed, file)),
  ];
  if (faults.length > 0) throw new CheckError(faults.join("\n"));
}

function checkTopLevel(installed) {
  const names = readdirSync(installed);
  return [
    ...names.filter((name) => !ALLOWED.includes(name)).map((name) => `${name} does not belong into the package`),
    ...ALLOWED.filter((name) => !names.includes(name)).map((name) => `${name} is missing`),
    ...ALLOWED.filter((name) => names.includes(name) && statSync(join(installed, name)).size === 0).map(
      (name) => `${name} is empty`,
    ),
  ];
}

// A leftover of an earlier build or of specs shows as a file that nothing leads to.
function checkSameFiles(installed, folder, expected) {
  const actual = filesIn(join(installed, folder));
  return [
    ...actual.filter((file) => !expected.includes(file)).map((file) => `${folder}/${file} does not belong there`),
    ...expected.filter((file) => !actual.includes(file)).map((file) => `${folder}/${file} is missing`),
  ];
}

/** The files that package.json names, and the worker that a command starts. */
function startingPoints({ exports, bin }) {
  const targets = Object.values(exports).flatMap((target) => Object.values(target));
  const files = [...targets, ...Object.values(bin), "./dist/cli/demo-worker.js"];
  return files.flatMap((file) => /^(?:\.\/)?dist\/(.+)$/.exec(file)?.[1] ?? []);
}

/** The files in dist/ that these lead to through imports. */
function reachable(installed, files) {
  const found = new Set(files);
  for (const file of found) {
    const path = join(installed, "dist", file);
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const isTypes = file.endsWith(".d.ts");
    for (const [, target] of text.matchAll(
      isTypes ? /(?:\bfrom |\bimport\()"(\.[^"]+)"/g : /\brequire\("(\.[^"]+)"/g,
    )) {
      found.add(join(dirname(file), isTypes ? `${target}.d.ts` : target).replaceAll("\\", "/"));
    }
  }
  return [...found];
}

function checkCommands(installed, { bin }) {
  return Object.values(bin).flatMap((file) => {
    const path = join(installed, file);
    if (!existsSync(path)) return [`${file} is missing, and package.json has it as a command`];
    return readFileSync(path, "utf8").startsWith("#!/usr/bin/env node\n") ? [] : [`${file} does not start with #!`];
  });
}

/** Links must work in node_modules, since there is no other place for them to lead to. */
function checkLinks(installed, file) {
  const path = join(installed, file);
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const targets = [...text.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)].map(([, target]) => target);
  return targets
    .filter((target) => !existsSync(join(installed, target)))
    .map((target) => `${file} links to ${target}, which is not in the package`);
}

function filesIn(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return paths.map((path) => path.slice(folder.length + 1).replaceAll("\\", "/"));
}
