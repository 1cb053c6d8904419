import { randomUUID } from "node:crypto";
import type { ResultSchema } from "./schema";

/** JSON as it is written. `JSON.parse` would round numbers that a double cannot hold, such as 64-bit ids, which jsonb keeps. */
export class JsonText {
  constructor(readonly text: string) {}
}

/**
 * Given as a read's schema, makes its value the stored JSON text. A backend with a codec, or one of another package, calls `validate` instead,
 * and the text is then that of the value it has.
 */
export const asJsonText: ResultSchema<JsonText> = {
  "~standard": {
    version: 1,
    vendor: "kojin-postgres",
    validate: (value) => ({ value: new JsonText(stringifyExactly(value) ?? "null") }),
  },
};

// Random, so that no value can look like a mark.
const mark = `json-text-${randomUUID()}:`;
const marked = new RegExp(`"${mark}(\\d+)"`, "g");

/** `JSON.stringify`, with each {@link JsonText} in the value as it is written. */
export function stringifyExactly(value: unknown): string | undefined {
  const texts: string[] = [];
  const text = JSON.stringify(value, (_key, each: unknown) =>
    each instanceof JsonText ? `${mark}${texts.push(each.text) - 1}` : each,
  );
  // Without one there may be no text at all, of a function.
  return texts.length === 0 ? text : text.replace(marked, (_mark, index: string) => texts[Number(index)] ?? "null");
}

/**
 * `JSON.parse`, with a {@link JsonText} for each number that would be written differently again.
 *
 * @throws SyntaxError The text is not JSON.
 */
export function parseExactly(text: string): unknown {
  // First as it is: the tokens below are those of JSON only.
  const value = JSON.parse(text) as unknown;
  const markedText = tokensOf(text).map((token) => {
    if (!/^[-\d]/.test(token) || String(Number(token)) === token) return token;
    return `"${mark}${token}"`;
  });
  const joined = markedText.join("");
  if (!joined.includes(mark)) return value;
  return JSON.parse(joined, (_key, each: unknown) =>
    typeof each === "string" && each.startsWith(mark) ? new JsonText(each.slice(mark.length)) : each,
  ) as unknown;
}

/** JSON text laid out anew: on one line, or with a line for each value if there is an indent. Strings and numbers stay as they are written. */
export function layOut(text: string, indent = ""): string {
  const parts: string[] = [];
  let depth = 0;
  let isOpening = false;
  const breakLine = (): void => {
    if (indent !== "") parts.push("\n", indent.repeat(depth));
  };
  for (const token of tokensOf(text)) {
    const isClosing = token === "}" || token === "]";
    if (isClosing) depth -= 1;
    // Nothing between the brackets of an empty object or array.
    if (isOpening !== isClosing) breakLine();
    parts.push(token);
    isOpening = token === "{" || token === "[";
    if (isOpening) depth += 1;
    else if (token === ":" && indent !== "") parts.push(" ");
    else if (token === ",") breakLine();
  }
  return parts.join("");
}

/** Strings, numbers, words and signs of a JSON text, without the space between them. */
function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  const plain = /\s*([{}[\],:]|[^\s{}[\],:"]+|")/y;
  for (let match = plain.exec(text); match !== null; match = plain.exec(text)) {
    const start = plain.lastIndex - 1;
    if (match[1] === '"') plain.lastIndex = endOfString(text, start);
    tokens.push(match[1] === '"' ? text.slice(start, plain.lastIndex) : (match[1] ?? ""));
  }
  return tokens;
}

// Not a regular expression: on a string of megabytes it would run out of stack.
export function endOfString(text: string, start: number): number {
  for (let index = start + 1; index < text.length; index += 1) {
    const unit = text[index];
    if (unit === '"') return index + 1;
    if (unit === "\\") index += 1;
  }
  return text.length;
}
