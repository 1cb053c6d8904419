/** Languages whose blocks are run. The SQL in programs of other languages is prepared instead. */
export const codeLanguages = ["ts", "js"] as const;
const languages = [...codeLanguages, "sh", "sql", "python", "go", "rust"];
/** Blocks that hold no program. */
const plainLanguages = ["text", "http"];

export interface Block {
  /** Its path from the root of the repository. */
  readonly file: string;
  /** The line of its fence, counted from 1. */
  readonly line: number;
  readonly language: string;
  /** `file#heading`, with `/2`, `/3` … for further blocks of code under one heading. */
  readonly key: string;
  /** The name of the first line's comment, such as `// worker.mts`, under which readers save it. */
  readonly name: string | undefined;
  readonly code: string;
  /** The reason in `<!-- not run: reason -->` before the block. */
  readonly notRun: string | undefined;
  /** Lines of the fences that make it up: blocks marked `continue` belong to the block before. */
  readonly fences: readonly number[];
}

interface Fence {
  readonly info: string;
  readonly indent: string;
  readonly marker: string;
  readonly line: number;
  readonly lines: string[];
  readonly heading: string;
  readonly notRun: string | undefined;
  closed: boolean;
}

/** Reads the blocks of a Markdown text, and the faults of their marks. */
export function readBlocks(file: string, markdown: string): { blocks: Block[]; faults: string[] } {
  const blocks: Block[] = [];
  const faults: string[] = [];
  const seen = new Map<string, number>();
  for (const fence of readFences(markdown)) {
    const [language = "", ...marks] = fence.info.split(/\s+/);
    const previous = blocks.at(-1);
    const fault = faultOf(fence, language, marks.join(" "), previous);
    if (fault !== undefined) faults.push(`${file}:${fence.line}: ${fault}`);
    else if (marks.length > 0 && previous !== undefined) blocks[blocks.length - 1] = joined(previous, fence);
    else if (languages.includes(language)) {
      const place = `${file}#${fence.heading}`;
      const count = (seen.get(place) ?? 0) + 1;
      seen.set(place, count);
      blocks.push(blockOf(file, language, count === 1 ? place : `${place}/${count}`, fence));
    }
  }
  return { blocks, faults };
}

/** The slug under which GitHub and the site link to a heading. */
export function slugOf(heading: string): string {
  const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
  return text
    .replace(/[^\p{Letter}\p{Number}\s_-]/gu, "")
    .trim()
    .replace(/\s/g, "-");
}

function blockOf(file: string, language: string, key: string, fence: Fence): Block {
  const name = /^\/\/ ([\w.-]+\.m?[jt]s)\b/.exec(fence.lines[0] ?? "")?.[1];
  const { line, notRun } = fence;
  return { file, line, language, key, name, code: fence.lines.join("\n"), notRun, fences: [line] };
}

function joined(block: Block, fence: Fence): Block {
  // Empty lines stand for the prose between, so that lines keep their distance in the file.
  const distance = fence.line - block.line - block.code.split("\n").length;
  const code = block.code + "\n".repeat(Math.max(1, distance)) + "\n" + fence.lines.join("\n");
  return { ...block, code, fences: [...block.fences, fence.line] };
}

function faultOf(fence: Fence, language: string, marks: string, previous: Block | undefined): string | undefined {
  if (!fence.closed) return "the block never ends";
  if (fence.notRun === "") return "give a reason: <!-- not run: reason -->";
  const isKnown = languages.includes(language) || plainLanguages.includes(language);
  if (!isKnown && fence.notRun === undefined)
    return `a block marked "${language}" needs <!-- not run: reason -->; known are ${[...languages, ...plainLanguages].join(", ")}`;
  if (marks === "") return undefined;
  if (marks !== "continue") return `only "continue" may follow "${language}"`;
  if (previous?.language !== language) return `there is no "${language}" block before it to continue`;
  return undefined;
}

function readFences(markdown: string): Fence[] {
  const fences: Fence[] = [];
  let open: Fence | undefined;
  let heading = "";
  let notRun: string | undefined;
  for (const [index, line] of markdown.split(/\r?\n/).entries()) {
    if (open !== undefined) {
      if (isClosing(line, open.marker)) {
        open.closed = true;
        open = undefined;
      } else open.lines.push(withoutQuoteMarks(line, open.indent.length));
      continue;
    }
    const found = /^(?<indent>[\s>]*)(?<marker>`{3,}|~{3,})(?<info>[^`]*)$/.exec(line)?.groups;
    if (found !== undefined) {
      const { indent = "", marker = "", info = "" } = found;
      open = { info: info.trim(), indent, marker, line: index + 1, lines: [], heading, notRun, closed: false };
      fences.push(open);
    }
    heading = /^#{1,6}\s+(.*)$/.exec(line) === null ? heading : slugOf(line.replace(/^#+\s+/, ""));
    if (line.trim() !== "" || found !== undefined) notRun = /^<!-- not run:(.*)-->$/.exec(line)?.[1]?.trim();
  }
  return fences;
}

function isClosing(line: string, marker: string): boolean {
  const text = line.replace(/^[\s>]*/, "").trimEnd();
  return text.length >= marker.length && text === marker.slice(0, 1).repeat(text.length);
}

// Replaces quote marks by spaces, so that a column in the code is the column in the file.
function withoutQuoteMarks(line: string, width: number): string {
  return line.slice(0, width).replaceAll(">", " ") + line.slice(width);
}
