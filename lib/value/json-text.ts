import { randomUUID } from "node:crypto";

/**
 * JSON text kept verbatim. `JSON.parse` rounds numbers that a double cannot hold, such as 64-bit ids; jsonb keeps them.
 */
export class JsonText {
  constructor(readonly text: string) {}
}

// Random, so that no value can contain it.
const mark = `json-text-${randomUUID()}:`;
const marked = new RegExp(`"${mark}(\\d+)"`, "g");

/** `JSON.stringify` that inserts each {@link JsonText} verbatim. */
export function stringifyExactly(value: unknown): string | undefined {
  const texts: string[] = [];
  const text = JSON.stringify(value, (_key, each: unknown) =>
    each instanceof JsonText ? `${mark}${texts.push(each.text) - 1}` : each,
  );
  // A function has no text at all, so look only where there is something to insert.
  return texts.length === 0 ? text : text.replace(marked, (_mark, index: string) => texts[Number(index)] ?? "null");
}

/**
 * `JSON.parse` that returns a {@link JsonText} for each number that `JSON.stringify` would write differently.
 *
 * @throws SyntaxError The text is not JSON.
 */
export function parseExactly(text: string): unknown {
  // First, since the tokenizer below expects valid JSON.
  const value = JSON.parse(text) as unknown;
  const tokens = Array.from(jsonTokens(text), (token) =>
    !/^[-\d]/.test(token) || String(Number(token)) === token ? token : `"${mark}${token}"`,
  );
  const joined = tokens.join("");
  if (!joined.includes(mark)) return value;
  return JSON.parse(joined, (_key, each: unknown) =>
    typeof each === "string" && each.startsWith(mark) ? new JsonText(each.slice(mark.length)) : each,
  ) as unknown;
}

/**
 * Reformats JSON text: on one line, or with one value per line if given an `indent`. Strings and numbers stay verbatim.
 */
export function layOut(text: string, indent = ""): string {
  const parts: string[] = [];
  let depth = 0;
  let isOpening = false;
  const breakLine = (): void => {
    if (indent !== "") parts.push("\n", indent.repeat(depth));
  };
  for (const token of jsonTokens(text)) {
    const isClosing = token === "}" || token === "]";
    if (isClosing) depth -= 1;
    // No break between the brackets of an empty object or array.
    if (isOpening !== isClosing) breakLine();
    parts.push(token);
    isOpening = token === "{" || token === "[";
    if (isOpening) depth += 1;
    else if (token === ":" && indent !== "") parts.push(" ");
    else if (token === ",") breakLine();
  }
  return parts.join("");
}

/** Yields the strings, numbers, words and punctuation of a JSON text, without the white space between them. */
export function* jsonTokens(text: string): Generator<string> {
  const plain = /\s*([{}[\],:]|[^\s{}[\],:"]+|")/y;
  for (let match = plain.exec(text); match !== null; match = plain.exec(text)) {
    const start = plain.lastIndex - 1;
    if (match[1] === '"') plain.lastIndex = endOfString(text, start);
    yield match[1] === '"' ? text.slice(start, plain.lastIndex) : (match[1] ?? "");
  }
}

// Not a regular expression, which runs out of stack on a string of megabytes.
function endOfString(text: string, start: number): number {
  for (let index = start + 1; index < text.length; index += 1) {
    const unit = text[index];
    if (unit === '"') return index + 1;
    if (unit === "\\") index += 1;
  }
  return text.length;
}
