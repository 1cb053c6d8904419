import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Block } from "./markdown";

const root = join(__dirname, "..", "..");
const run = promisify(execFile);
const jest = createRequire(__filename).resolve("jest/bin/jest");

export type TestRunner = "jest" | "node:test";

/** The runner whose globals or imports a block uses; undefined if it holds no tests. */
export function testRunnerOf({ code }: Block): TestRunner | undefined {
  if (code.includes('from "node:test"')) return "node:test";
  return /^(?:jest\.|it\(|describe\(|describeResultBackend\()/m.test(code) ? "jest" : undefined;
}

/** Runs the blocks of tests, all of a runner at once. Returns the output if one fails. */
export async function runTests(runner: TestRunner, blocks: readonly Block[], parent: string): Promise<string[]> {
  const folder = join(parent, runner.replace(":", "-"));
  mkdirSync(folder);
  const files = blocks.map(({ code, language, key }, index) => {
    const file = join(folder, `block-${index}.spec.${runner === "jest" ? "ts" : `m${language}`}`);
    // Jest wants at least one test in a file.
    const isEmpty = runner === "jest" && !/^(?:it|describe\w*)\(/m.test(code);
    writeFileSync(file, isEmpty ? `${code}\nit("runs ${key}", () => undefined);\n` : code);
    return file;
  });
  if (files.length === 0) return [];
  const args =
    runner === "jest"
      ? [jest, "--config", JSON.stringify(jestConfig(folder)), "--runInBand"]
      : ["--import", "tsx", "--test", ...files];
  try {
    await run(process.execPath, args, { cwd: root, maxBuffer: 1 << 24 });
    return [];
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return [`${blocks.map(({ file, line }) => `${file}:${line}`).join(", ")}: ${stdout}${stderr}`];
  }
}

function jestConfig(folder: string): object {
  return {
    rootDir: root,
    roots: [folder],
    testMatch: ["**/*.spec.ts"],
    transform: { "^.+\\.ts$": ["@swc/jest", { jsc: { target: "es2022", parser: { syntax: "typescript" } } }] },
    moduleNameMapper: {
      "^kojin-postgres$": "<rootDir>/lib/index.ts",
      "^kojin-postgres/conformance$": "<rootDir>/spec/conformance/index.ts",
    },
  };
}
