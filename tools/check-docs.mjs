// Compiles every ```ts and ```js block of README.md and docs/ as a module. "ts continue" continues the block before it.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import ts from "typescript";

import { readCodeBlocks } from "./docs/code-blocks.mjs";

const root = join(import.meta.dirname, "..");

// Compiler settings of this package that readers may not use.
const sharedOptions = {
  types: ["node", "jest"],
  noUnusedLocals: false,
  noUnusedParameters: false,
  noPropertyAccessFromIndexSignature: false,
};
const optionsOf = {
  ts: sharedOptions,
  // JavaScript parameters cannot be given a type.
  js: { ...sharedOptions, allowJs: true, checkJs: true, noImplicitAny: false },
};

const faults = [];
const modules = [];
for (const file of markdownFiles()) {
  const { blocks, faults: marks } = readCodeBlocks(readFileSync(join(root, file), "utf8"));
  faults.push(...marks.map(({ line, message }) => `${file}:${line}: ${message}`));
  modules.push(...toModules(file, blocks));
}
if (modules.length === 0) faults.push("README.md: no block of code found");
faults.push(...compile("ts"), ...compile("js"));

if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exit(1);
}
const blockCount = modules.reduce((count, { fences }) => count + fences.length, 0);
console.log(`${blockCount} blocks of code in ${new Set(modules.map(({ file }) => file)).size} files compile.`);

function markdownFiles() {
  if (!existsSync(join(root, "README.md"))) {
    console.error("README.md is missing.");
    process.exit(1);
  }
  const docs = existsSync(join(root, "docs")) ? readdirSync(join(root, "docs"), { recursive: true }) : [];
  const pages = docs.filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
  return ["README.md", ...pages.sort()];
}

function toModules(file, blocks) {
  const found = [];
  for (const block of blocks) {
    let module = found.at(-1);
    if (!block.continues) {
      module = { file, language: block.language, fences: [], lines: [] };
      found.push(module);
    }
    module.fences.push(block.line);
    // Empty lines stand for the prose, so that a line has the same number in the module and in the Markdown file.
    module.lines.push(...Array.from({ length: block.line - module.lines.length }, () => ""), ...block.lines);
  }
  return found;
}

function compile(language) {
  const chosen = modules.filter((module) => module.language === language);
  if (chosen.length === 0) return [];
  // Inside the repository, so that imports find its node_modules.
  mkdirSync(join(root, ".tmp"), { recursive: true });
  const folder = mkdtempSync(join(root, ".tmp", `docs-${language}-`));
  try {
    const moduleOf = new Map(chosen.map((module, index) => [writeModule(folder, module, index), module]));
    return diagnose(folder, [...moduleOf.keys()], optionsOf[language]).map((diagnostic) =>
      describe(diagnostic, moduleOf),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeModule(folder, { language, lines }, index) {
  const code = lines.join("\n");
  // ES modules, for top-level `await`, except where `require` asks for CommonJS.
  const kind = language === "js" && /\brequire\(/.test(code) ? "c" : "m";
  const path = join(folder, `block-${index}.${kind}${language}`);
  writeFileSync(path, code);
  return path;
}

function diagnose(folder, files, compilerOptions) {
  const configFile = join(folder, "tsconfig.json");
  writeFileSync(configFile, JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: [], files }));
  const host = {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
      throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n"));
    },
  };
  const config = ts.getParsedCommandLineOfConfigFile(configFile, undefined, host);
  const program = ts.createProgram({ rootNames: config.fileNames, options: config.options });
  return [...config.errors, ...ts.getPreEmitDiagnostics(program)];
}

function describe({ file, start, code, messageText }, moduleOf) {
  const message = `TS${code}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
  if (file === undefined) return message;
  const { line, character } = file.getLineAndCharacterOfPosition(start);
  const module = moduleOf.get(file.fileName);
  if (module === undefined) return `${relative(root, file.fileName)}:${line + 1}:${character + 1}: ${message}`;
  const fence = module.fences.findLast((each) => each <= line + 1);
  return `${module.file}:${line + 1}:${character + 1}: ${message} (in the block at line ${fence})`;
}
