// Compiles every ```ts and ```js block of README.md and docs/ as a module. "ts continue" continues the block before it.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import ts from "typescript";

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

const compiledLanguages = ["ts", "js"];
// Blocks marked so would be coloured as code and escape the check.
const otherNames = ["typescript", "javascript", "tsx", "jsx", "mts", "cts", "mjs", "cjs"];

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

/**
 * Finds the blocks of a Markdown text that have to compile. `blocks` has for each its `language`, the `line` of its
 * fence counted from 1, its `lines` of code at their columns in the file, and if it `continues` the block before it.
 * `faults` lists what is wrong with the marks on blocks.
 */
function readCodeBlocks(markdown) {
  const blocks = [];
  const faults = [];
  for (const fence of readFences(markdown)) {
    const [language = "", ...marks] = fence.info.toLowerCase().split(/\s+/);
    if (otherNames.includes(language)) {
      faults.push({ line: fence.line, message: `mark the block "ts" or "js", not "${language}"` });
    }
    if (!compiledLanguages.includes(language)) continue;
    const continues = marks.length > 0;
    const message = faultOf(fence, language, marks, blocks.at(-1));
    if (message === undefined) blocks.push({ language, continues, line: fence.line, lines: fence.lines });
    else faults.push({ line: fence.line, message });
  }
  return { blocks, faults };
}

function faultOf(fence, language, marks, previous) {
  if (!fence.closed) return "the block never ends";
  if (marks.length === 0) return undefined;
  if (marks.join(" ") !== "continue") return `only "continue" may follow "${language}", and every block has to compile`;
  if (previous?.language !== language) return `there is no "${language}" block before it to continue`;
  return undefined;
}

function readFences(markdown) {
  const fences = [];
  let open;
  for (const [index, line] of markdown.split(/\r?\n/).entries()) {
    if (open === undefined) {
      const found = /^(?<indent>[\s>]*)(?<marker>`{3,}|~{3,})(?<info>[^`]*)$/.exec(line)?.groups;
      if (!found) continue;
      open = { ...found, info: found.info.trim(), line: index + 1, lines: [], closed: false };
      fences.push(open);
    } else if (isClosing(line, open.marker)) {
      open.closed = true;
      open = undefined;
    } else {
      open.lines.push(withoutQuoteMarks(line, open.indent.length));
    }
  }
  return fences;
}

function isClosing(line, marker) {
  const text = line.replace(/^[\s>]*/, "").trimEnd();
  return text.length >= marker.length && text === marker[0].repeat(text.length);
}

// Replaces quote marks by spaces, so that a column in the code is the column in the file.
function withoutQuoteMarks(line, width) {
  return line.slice(0, width).replaceAll(">", " ") + line.slice(width);
}
