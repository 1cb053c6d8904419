// Compiles and runs the blocks of code, shell and SQL in README.md and docs/ on an embedded Postgres:
//   npx tsx tools/check-docs.ts [TEXT]    runs only those whose file#heading contains TEXT
// A block follows <!-- not run: reason --> if it cannot run. What surrounds a block is in docs/scenes.ts.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Pool } from "pg";
import { PostgresResultBackend } from "../lib/index";
import { compileBlocks } from "./docs/compile";
import { type Block, codeLanguages, readBlocks } from "./docs/markdown";
import { CodeRunner } from "./docs/run-code";
import { PageShell } from "./docs/run-shell";
import { runSql } from "./docs/run-sql";
import { runTests, testRunnerOf } from "./docs/run-tests";
import { scenes, sqlParameters } from "./docs/scenes";
import { Servers } from "./docs/servers";

const root = join(__dirname, "..");

const faults: string[] = [];
const skipped: string[] = [];
const report = (block: Block, found: readonly string[]): void => {
  faults.push(...found.map((fault) => `${block.file}:${block.line}: ${fault}`));
};

async function main(only = ""): Promise<void> {
  if (!existsSync(join(root, "dist", "cli", "main.js")))
    throw new Error("Run `npm run build` first: shells use dist/.");
  const blocks = readPages();
  const unused = Object.keys({ ...scenes, ...sqlParameters }).filter(
    (key) => !blocks.some((block) => block.key === key),
  );
  faults.push(...unused.map((key) => `docs/scenes.ts: no block is ${key}`));
  const chosen = blocks.filter(({ key }) => key.includes(only));
  faults.push(...compileBlocks(chosen.filter(isCode)));
  const running = chosen.filter(({ notRun }) => notRun === undefined);
  // Inside the repository, so that imports find its node_modules.
  mkdirSync(join(root, ".tmp"), { recursive: true });
  const folder = mkdtempSync(join(root, ".tmp", "docs-"));
  const servers = await Servers.start();
  const code = new CodeRunner(servers, folder, scenes);
  try {
    await Promise.all([runCode(running.filter(isCode), servers, code, folder), runShells(running, servers, folder)]);
  } finally {
    await servers.stop();
    code.restoreOutput();
    rmSync(folder, { recursive: true, force: true });
  }
  for (const reason of skipped) console.log(`Skipped: ${reason}`);
  if (faults.length > 0) console.error(faults.join("\n"));
  else console.log(`${running.length} of ${chosen.length} blocks run; the rest say why not.`);
  // Blocks leave servers and workers of their own running.
  process.exit(faults.length > 0 ? 1 : 0);
}

function readPages(): Block[] {
  const pages = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  return ["README.md", ...pages.sort().map((name) => `docs/${name}`)].flatMap((file) => {
    const read = readBlocks(file, readFileSync(join(root, file), "utf8"));
    faults.push(...read.faults);
    return read.blocks;
  });
}

function isCode({ language }: Block): boolean {
  return (codeLanguages as readonly string[]).includes(language);
}

async function runCode(blocks: readonly Block[], servers: Servers, code: CodeRunner, folder: string): Promise<void> {
  for (const block of blocks.filter((each) => testRunnerOf(each) === undefined)) {
    const missing = servers.missingFor(block.code);
    if (missing === undefined) report(block, await code.run(block));
    else skipped.push(`${block.file}:${block.line}: ${missing}`);
  }
  for (const runner of ["jest", "node:test"] as const) {
    const tests = blocks.filter((block) => testRunnerOf(block) === runner);
    faults.push(...(await runTests(runner, tests, folder)));
  }
}

/** Runs the blocks of shell and SQL of each page in order, in one shell and on one database. */
async function runShells(blocks: readonly Block[], servers: Servers, folder: string): Promise<void> {
  for (const page of new Set(blocks.map(({ file }) => file))) {
    const place = await servers.newPlace();
    const pool = new Pool({ connectionString: place.url, max: 2 });
    pool.on("error", () => undefined);
    const stage = { ...place, pool, backend: new PostgresResultBackend(pool) };
    const shell = new PageShell(join(folder, page), place);
    for (const block of blocks.filter(({ file }) => file === page)) {
      if (block.name !== undefined) shell.save(block.name, block.code);
      if (isCode(block)) continue;
      const missing = servers.missingFor(block.code);
      if (missing !== undefined) {
        skipped.push(`${block.file}:${block.line}: ${missing}`);
        continue;
      }
      const { files = {}, before } = scenes[block.key] ?? {};
      for (const each of Object.entries(files)) shell.save(...each);
      await before?.(stage);
      if (block.language !== "sh") report(block, await runSql(block, place, sqlParameters[block.key]));
      else {
        const outcome = await shell.run(block.code);
        report(block, outcome.faults);
        skipped.push(...outcome.skipped.map((each) => `${block.file}:${block.line}: ${each}`));
      }
    }
    faults.push(...(await shell.end()).map((fault) => `${page}: ${fault}`));
    await stage.backend.close();
  }
}

main(process.argv[2]).catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
