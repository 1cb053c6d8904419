const COMPILED = ["ts", "js"];
// Blocks marked so would be coloured as code and escape the check.
const OTHER_NAMES = ["typescript", "javascript", "tsx", "jsx", "mts", "cts", "mjs", "cjs"];

/**
 * Finds the blocks of a Markdown text that have to compile. `blocks` has for each its `language`, the `line` of its
 * fence counted from 1, its `lines` of code at their columns in the file, and if it `continues` the block before it.
 * `faults` lists what is wrong with the marks on blocks.
 */
export function readCodeBlocks(markdown) {
  const blocks = [];
  const faults = [];
  for (const fence of readFences(markdown)) {
    const [language = "", ...marks] = fence.info.toLowerCase().split(/\s+/);
    if (OTHER_NAMES.includes(language)) {
      faults.push({ line: fence.line, message: `mark the block "ts" or "js", not "${language}"` });
    }
    if (!COMPILED.includes(language)) continue;
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
