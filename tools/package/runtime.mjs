import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

import { CheckError, root, run, withServer } from "./command.mjs";

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
  await runNode(consumer, ["optional-absent.mjs"]);
  await withServer(async (url) => {
    await runNode(consumer, ["round-trip.mjs"], { DATABASE_URL: url });
    await runCommand(consumer, ["store", "packed", '{"by":"the command"}'], { DATABASE_URL: url });
    expectOutput(await runCommand(consumer, ["wait", "packed", "--json"], { DATABASE_URL: url }), '"the command"');
    expectOutput(await runCommand(consumer, ["doctor"], { DATABASE_URL: url }), "No problems found");
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
  const path = join(root, file);
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile).config,
    ts.sys,
    root,
  );
  const program = ts.createProgram([path], options);
  const checker = program.getTypeChecker();
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(path)));
  const isTypeOnly = ({ declarations = [] }) => declarations.some(ts.isTypeOnlyExportDeclaration);
  const isValue = (symbol) => (symbol.flags & ts.SymbolFlags.Value) !== 0;
  const resolved = (symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
  return exported.filter((symbol) => !isTypeOnly(symbol) && isValue(resolved(symbol))).map(({ name }) => name);
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
