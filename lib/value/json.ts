import { ResultEncodingError } from "../errors";

// JSON.stringify writes U+0000 and lone surrogates, and only those of what jsonb rejects, as lower-case escapes (ECMA-262, QuoteJSONString).
const unstorableEscape = /(?<!\\)(?:\\\\)*\\u(0000|d[89a-f][0-9a-f]{2})/;

/** JSON text, or `undefined` for what has none: a function, a symbol. The type of `JSON.stringify` does not say so. */
export const jsonText = (value: unknown): string | undefined => JSON.stringify(value);

/** The JSON text of a result; `undefined` becomes `null`. Checked here, before a batch is built, so that one bad value cannot fail others. */
export function encodeResult(taskId: string, result: unknown, maxBytes: number): string {
  const text = stringify(taskId, result);
  if (text.includes("\\u")) {
    const found = unstorableEscape.exec(text);
    if (found)
      throw new ResultEncodingError(taskId, `jsonb cannot hold the character \\u${String(found[1])} in a string`);
  }
  // UTF-8 takes at most three bytes for each UTF-16 unit, so most texts need no exact count.
  if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes) {
    throw new ResultEncodingError(
      taskId,
      `it takes ${Buffer.byteLength(text)} bytes, more than maxResultBytes (${maxBytes})`,
    );
  }
  return text;
}

function stringify(taskId: string, result: unknown): string {
  if (result === undefined) return "null";
  let text: string | undefined;
  try {
    text = jsonText(result);
  } catch (error) {
    throw new ResultEncodingError(
      taskId,
      error instanceof Error ? lowerFirst(firstLine(error.message)) : "it has no JSON form",
      {
        cause: error,
      },
    );
  }
  if (text === undefined) throw new ResultEncodingError(taskId, `a ${typeof result} has no JSON form`);
  return text;
}

const firstLine = (message: string): string => message.split("\n", 1)[0] ?? message;
const lowerFirst = (message: string): string => message.charAt(0).toLowerCase() + message.slice(1);
