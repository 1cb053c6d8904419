import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

// Like those of package-files.ts: the build publishes them as constants.
const folder = join(__dirname, "page");

/** The files of the page, by name. */
export const pageFiles: Readonly<Record<string, string>> = Object.fromEntries(
  readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]),
);
