// Packs the package as `npm publish` would and uses it as a user would: in an empty folder, with nothing else
// installed.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { CheckError, install, newProject, root, run, runTool } from "./package/command.mjs";
import { checkBundles } from "./package/bundles.mjs";
import { checkContents, checkSize } from "./package/contents.mjs";
import { checkManagers } from "./package/managers.mjs";
import { checkNext } from "./package/next.mjs";
import { checkRuntime } from "./package/runtime.mjs";
import { checkRuntimes } from "./package/runtimes.mjs";
import { checkTypes } from "./package/types.mjs";

// Outside the repository, so that its node_modules cannot be found.
const work = mkdtempSync(join(tmpdir(), "check-package-"));
const consumer = newProject(join(work, "consumer"));
const compilers = newProject(join(work, "compilers"));
const installed = join(consumer, "node_modules", "kojin-postgres");
let tarball = "";

const checks = {
  "packs and installs": async () => {
    await run("npm", ["pack", "--pack-destination", work]);
    tarball = join(work, readdirSync(work).find((name) => name.endsWith(".tgz")) ?? "");
    await install(consumer, [tarball, `@types/node@${nodeTypesRange()}`]);
    return checkSize(tarball);
  },
  "contains what it should": () => checkContents(installed),
  publint: async () => void (await runTool("publint", ["run", tarball, "--strict"])),
  // With all rules enabled.
  "are the types wrong": async () => void (await runTool("attw", [tarball, "--no-definitely-typed", "--no-emoji"])),
  "loads and works": () => checkRuntime(consumer),
  "installs with pnpm and Yarn, and README's first program runs": () => checkManagers(join(work, "managers"), tarball),
  "works in bundles of esbuild and ncc": () => checkBundles(consumer, join(work, "bundles")),
  "conforms under Node, Bun and Deno": () => checkRuntimes(consumer, join(work, "runtimes")),
  "works in Next": () => checkNext(join(work, "next"), tarball),
  "type-checks with TypeScript 5.4, 6 and 7": () => checkTypes(consumer, compilers),
};

try {
  for (const [title, check] of Object.entries(checks)) await report(title, check);
} catch (error) {
  if (!(error instanceof CheckError)) throw error;
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

async function report(title, check) {
  const started = performance.now();
  try {
    const detail = await check();
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`ok: ${title} (${detail === undefined ? "" : `${detail}, `}${seconds} s)`);
  } catch (error) {
    console.error(`FAILED: ${title}\n${error.message}`);
    throw error;
  }
}

// The types of the oldest supported Node. Without them, those that come with pg would bring the types of the newest.
function nodeTypesRange() {
  return JSON.parse(readFileSync(join(root, "package.json"), "utf8")).devDependencies["@types/node"];
}
