import { ResultEncodingError, ResultValidationError } from "../errors";
import { isError, isThenable } from "./foreign";
import { JsonText } from "./json-text";
import { fitsAsJsonb, maxTextBytes } from "./jsonb-text";

// JSON.stringify writes U+0000 and lone surrogates, and only those of what jsonb rejects, as lower-case escapes (ECMA-262, QuoteJSONString).
const unstorableEscape = /(?<!\\)(?:\\\\)*\\u(0000|d[89a-f][0-9a-f]{2})/;

/** Takes values that JSON cannot hold to ones that it can, and back. Both sides have to use the same. Failures do not go through it. */
export interface Codec {
  /** Called with each result that is stored; gives what JSON can hold. What it throws rejects the store with a `ResultEncodingError`. */
  encode(value: unknown): unknown;
  /** Called with each result that is read, once for each reader. What it throws is a `ResultValidationError` of that reader. */
  decode(json: unknown): unknown;
}

/** JSON text, or `undefined` for what has none: a function, a symbol. The type of `JSON.stringify` does not say so. */
export const jsonText = (value: unknown): string | undefined => JSON.stringify(value);

/** A result from its JSON text, anew for each caller, so that none sees what another does to it. */
export function decodeResult(taskId: string, text: string, codec: Codec | undefined): unknown {
  const json = JSON.parse(text) as unknown;
  if (codec === undefined) return json;
  try {
    return codec.decode(json);
  } catch (cause) {
    throw new ResultValidationError(taskId, [{ message: `the codec threw: ${String(cause)}` }], { cause });
  }
}

/** The JSON text of a result; `undefined` becomes `null`. Checked here, before a batch is built, so that one bad value cannot fail others. */
export function encodeResult(taskId: string, result: unknown, maxBytes: number, codec?: Codec): string {
  const text = result instanceof JsonText ? textOf(taskId, result) : textOfValue(taskId, result, codec);
  // UTF-8 takes at most three bytes for each UTF-16 unit, so most texts need no exact count.
  if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes) {
    throw new ResultEncodingError(
      taskId,
      `it takes ${Buffer.byteLength(text)} bytes, more than maxResultBytes (${maxBytes})`,
    );
  }
  if (!fitsAsJsonb(text, maxTextBytes(maxBytes))) {
    throw new ResultEncodingError(
      taskId,
      `jsonb writes its numbers without exponents, in more bytes than maxResultBytes (${maxBytes}) lets readers take`,
    );
  }
  return text;
}

function textOfValue(taskId: string, result: unknown, codec: Codec | undefined): string {
  const text = stringify(taskId, codec === undefined ? result : encodeWith(codec, taskId, result));
  checkStrings(taskId, text);
  return text;
}

/** The text as it is written, once it has been seen to be JSON. Its strings are checked as `JSON.stringify` writes them, with escapes of one kind. */
function textOf(taskId: string, { text }: JsonText): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ResultEncodingError(taskId, `it is not JSON: ${String(error)}`, { cause: error });
  }
  checkStrings(taskId, stringify(taskId, value));
  return text;
}

function checkStrings(taskId: string, text: string): void {
  if (!text.includes("\\u")) return;
  const found = unstorableEscape.exec(text);
  if (found)
    throw new ResultEncodingError(taskId, `jsonb cannot hold the character \\u${String(found[1])} in a string`);
}

function encodeWith(codec: Codec, taskId: string, result: unknown): unknown {
  let json: unknown;
  try {
    json = codec.encode(result);
  } catch (cause) {
    throw new ResultEncodingError(taskId, `the codec threw: ${String(cause)}`, { cause });
  }
  // JSON would make {} of it.
  if (isThenable(json)) throw new ResultEncodingError(taskId, "the codec gave a promise, and has to be synchronous");
  return json;
}

function stringify(taskId: string, result: unknown): string {
  if (result === undefined) return "null";
  let text: string | undefined;
  try {
    text = jsonText(result);
  } catch (error) {
    throw new ResultEncodingError(
      taskId,
      isError(error) ? lowerFirst(firstLine(error.message)) : "it has no JSON form",
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
