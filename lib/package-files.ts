import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

// The build runs this module and publishes its exports as constants: a bundled application has no such files to read.
const root = join(__dirname, "..");

/** The version of this package. */
export const version = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version;

/** The SQL files of this package, by name and in order. Comments are left out, since they are a quarter of the text. */
export const sqlFiles: Readonly<Record<string, string>> = Object.fromEntries(
  readdirSync(join(root, "sql"))
    .sort()
    .map((name) => [name, readFileSync(join(root, "sql", name), "utf8").replace(/^ *--(?! @).*\n/gm, "")]),
);
