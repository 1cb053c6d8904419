import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

import { CheckError, root } from "./command.mjs";

const ALLOWED = ["dist", "sql", "package.json", "README.md", "LICENSE", "CHANGELOG.md"];

/** Fails unless the installed package has all the files it needs to run and to be read, and no others. */
export function checkContents(installed) {
  const faults = [
    ...checkTopLevel(installed),
    ...checkSameFiles(installed, "dist", compiledNames()),
    ...checkSameFiles(installed, "sql", filesIn(join(root, "sql"))),
    ...checkSourceMaps(installed),
    ...checkCommands(installed),
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

// A leftover of an earlier build or of specs shows as a file without a source.
function checkSameFiles(installed, folder, expected) {
  const actual = filesIn(join(installed, folder));
  return [
    ...actual.filter((file) => !expected.includes(file)).map((file) => `${folder}/${file} does not belong there`),
    ...expected.filter((file) => !actual.includes(file)).map((file) => `${folder}/${file} is missing`),
  ];
}

/** The compiler's output for each module, and other files of lib/, such as the dashboard's page, unchanged. */
function compiledNames() {
  const conformance = filesIn(join(root, "spec", "conformance")).filter((file) => !file.endsWith(".spec.ts"));
  const sources = [...filesIn(join(root, "lib")), ...conformance.map((file) => `conformance/${file}`)];
  return sources.flatMap((file) => {
    const name = file.replace(/\.ts$/, "");
    return name === file ? [file] : [`${name}.js`, `${name}.d.ts`];
  });
}

function checkSourceMaps(installed) {
  const faults = [];
  for (const file of filesIn(join(installed, "dist"))) {
    const path = join(installed, "dist", file);
    const text = readFileSync(path, "utf8");
    const map = /\/\/# sourceMappingURL=(?!data:)(\S+)/.exec(text)?.[1];
    const sources = file.endsWith(".map") ? JSON.parse(text).sources : [];
    for (const target of map === undefined ? sources : [map]) {
      if (!existsSync(join(dirname(path), target))) faults.push(`dist/${file} refers to ${target}, which is missing`);
    }
  }
  return faults;
}

function checkCommands(installed) {
  const { bin = {} } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  return Object.values(bin).flatMap((file) => {
    const path = join(installed, file);
    if (!existsSync(path)) return [`${file} is missing, and package.json has it as a command`];
    return readFileSync(path, "utf8").startsWith("#!/usr/bin/env node\n") ? [] : [`${file} does not start with #!`];
  });
}

function filesIn(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return paths.map((path) => path.slice(folder.length + 1).replaceAll("\\", "/"));
}
