// Fails if a comment or a Markdown line is too wide, or if prose contains words that this project does not use.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const maxCommentWidth = 120;
const maxMarkdownWidth = 100;

/** Private words and vague subjects, each with the words to use instead. */
const bannedWords = [
  [/\b(whoever|somebody|nobody|anybody|everybody)\b/i, "name the role: a reader, the caller, another process"],
  [/\bjudge[sd]?\b/i, "check, decide"],
  [/\bwakeups?\b(?!\.|`)/i, "wake-up, notified keys"],
  [/\bfarewell\b/i, "last message"],
  [/\blone\b(?! (high |low )?surrogate)/i, "single, dedicated"],
  [/\bloud(ly)?\b/i, "that notifies"],
  [/\bsilent (write|store|statement|variant)/i, "that does not notify"],
  [/\bgarbage\b(?! collect)/i, "invalid"],
  [/(?<!\bas )\bsoon\b/i, "early, shortly, or the time"],
  [/\bhints?\b/i, "notification, remedy"],
  [/\bof interest\b|\binterests?\b(?! rate)/i, "subscription"],
];

const kinds = [
  { pattern: /\.(ts|mjs|js)$/, prose: codeProse, maxWidth: maxCommentWidth },
  { pattern: /\.sql$/, prose: sqlProse, maxWidth: maxCommentWidth },
  { pattern: /\.md$/, prose: markdownProse, maxWidth: maxMarkdownWidth },
];

const faults = trackedFiles().flatMap(check);
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exit(1);
console.log("All prose is within its width and uses the project's words.");

function check(path) {
  const kind = kinds.find(({ pattern }) => pattern.test(path));
  if (kind === undefined || !existsSync(join(root, path))) return [];
  const text = readFileSync(join(root, path), "utf8");
  return kind
    .prose(text.split("\n"))
    .flatMap(({ line, width, words }) => [
      ...(width > kind.maxWidth ? [`${path}:${line}: ${width} columns, of at most ${kind.maxWidth}.`] : []),
      ...bannedWords
        .filter(([word]) => word.test(words))
        .map(([word, instead]) => `${path}:${line}: "${word.exec(words)[0]}". Instead: ${instead}.`),
    ]);
}

/** Comments, and the titles of specs, whose width is the formatter's affair. */
function codeProse(lines) {
  return lines.flatMap((text, index) => {
    const line = index + 1;
    if (/^\s*(\/\/|\/\*|\*|-- )(?! eslint-)/.test(text))
      return [{ line, width: text.length, words: withoutCode(text) }];
    const title =
      /\b(?:it|describe)\w*(?:\.\w+)?\(\s*(?:"([^"]*)"|`([^`]*)`)/.exec(text) ?? /^\s*"([^"]+)": async \(/.exec(text);
    return title === null ? [] : [{ line, width: 0, words: title[1] ?? title[2] ?? "" }];
  });
}

function sqlProse(lines) {
  return lines.flatMap((text, index) =>
    /^\s*--/.test(text) ? [{ line: index + 1, width: text.length, words: withoutCode(text) }] : [],
  );
}

/** Everything but code blocks. Rows of tables and lines that hold a long link may be wide. */
function markdownProse(lines) {
  let isCode = false;
  return lines.flatMap((text, index) => {
    const isFence = /^\s*(> )?```/.test(text);
    if (isFence) isCode = !isCode;
    if (isCode || isFence) return [];
    const mayBeWide = /^\s*(> )?\|/.test(text) || /\]\([^)]*\)|https?:/.test(text) || /^#/.test(text);
    return [{ line: index + 1, width: mayBeWide ? 0 : text.length, words: withoutCode(text) }];
  });
}

function withoutCode(text) {
  return text.replace(/`[^`]*`/g, "``").replace(/\]\([^)]*\)/g, "]()");
}

function trackedFiles() {
  // Otherwise git refuses to read a clone that belongs to another user.
  const options = ["-c", `safe.directory=${root}`, "ls-files", "--cached", "--others", "--exclude-standard"];
  return execFileSync("git", options, { cwd: root, encoding: "utf8" }).split("\n").filter(Boolean);
}
