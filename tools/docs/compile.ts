import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import ts from "typescript";
import type { Block } from "./markdown";

const root = join(__dirname, "..", "..");

const compilerOptions = {
  types: ["node", "jest"],
  // Settings of this package that readers may not use.
  noUnusedLocals: false,
  noUnusedParameters: false,
  noPropertyAccessFromIndexSignature: false,
  // The built package, as readers have it. To check its sources again would take most of the time.
  paths: {},
};

/** Names that blocks use without declaring them, after a page has introduced them. */
const preludeTypes = `
import type { PostgresResultBackend } from "kojin-postgres";
import type { Pool } from "pg";
declare global {
  const backend: PostgresResultBackend;
  const pool: Pool;
}
`;

/** Compiles all blocks of TypeScript as modules, and returns the errors with their lines in the Markdown. */
export function compileBlocks(blocks: readonly Block[]): string[] {
  const chosen = blocks.filter(({ language }) => language === "ts");
  // Inside the repository, so that imports find its node_modules.
  mkdirSync(join(root, ".tmp"), { recursive: true });
  const folder = mkdtempSync(join(root, ".tmp", "docs-types-"));
  try {
    const prelude = join(folder, "prelude.d.ts");
    writeFileSync(prelude, preludeTypes);
    const blockOf = new Map(chosen.map((block, index) => [join(folder, `block-${index}.mts`), block]));
    for (const [path, { code }] of blockOf) writeFileSync(path, code);
    return diagnose(folder, [prelude, ...blockOf.keys()]).map((diagnostic) => describe(diagnostic, blockOf));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function diagnose(folder: string, files: readonly string[]): readonly ts.Diagnostic[] {
  const configFile = join(folder, "tsconfig.json");
  writeFileSync(configFile, JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: [], files }));
  const config = ts.getParsedCommandLineOfConfigFile(configFile, undefined, {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: ({ messageText }) => {
      throw new Error(ts.flattenDiagnosticMessageText(messageText, "\n"));
    },
  });
  if (config === undefined) throw new Error(`${configFile} cannot be read.`);
  const program = ts.createProgram({ rootNames: config.fileNames, options: config.options });
  return [...config.errors, ...ts.getPreEmitDiagnostics(program)];
}

function describe(diagnostic: ts.Diagnostic, blockOf: ReadonlyMap<string, Block>): string {
  const { file, start, code, messageText } = diagnostic;
  const message = `TS${code}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
  if (file === undefined) return message;
  const { line, character } = file.getLineAndCharacterOfPosition(start ?? 0);
  const block = blockOf.get(file.fileName);
  if (block === undefined) return `${relative(root, file.fileName)}:${line + 1}:${character + 1}: ${message}`;
  return `${block.file}:${block.line + line + 1}:${character + 1}: ${message} (in the block at line ${block.line})`;
}
