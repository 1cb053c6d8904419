import { isError, ResultEncodingError } from "../errors";
import { checkOptions, checkTtlMs, type OptionNames } from "./arguments";
import { JsonText, jsonTokens } from "./json-text";

/** Converts results that JSON cannot hold. Writers and readers must use the same codec. Failures bypass it. */
export interface Codec {
  /**
   * Called with each result to store; returns a value JSON can hold. If it throws, `store` rejects with a
   * `ResultEncodingError`.
   */
  encode(value: unknown): unknown;
  /** Called with each stored result, once per reader. If it throws, this reader gets a `ResultValidationError`. */
  decode(json: unknown): unknown;
}

/** One outcome to store. */
export interface StoreRow {
  readonly taskId: string;
  /** JSON text; `null` for a failure. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** null: never expires. */
  readonly ttlMs: number | null;
  readonly keep: boolean;
  /** Span that stores the result, as a W3C `traceparent`; only with tracing. */
  readonly traceContext?: string | null;
}

interface RowOptions {
  readonly client?: unknown;
  readonly ttlMs?: number;
  readonly onConflict?: "replace" | "keep";
}

const storeNames: OptionNames<RowOptions> = { client: true, ttlMs: true, onConflict: true };

/** Creates a row from what a caller gave; throws a `TypeError` or `RangeError` for options that do not fit. */
export function toStoreRow(
  taskId: string,
  result: string,
  error: string | null,
  options: RowOptions,
  defaultTtlMs: number,
): StoreRow {
  checkOptions(options, storeNames);
  const { ttlMs = defaultTtlMs, onConflict = "replace" } = options;
  checkTtlMs(ttlMs, "ttlMs");
  if (!["replace", "keep"].includes(onConflict)) {
    throw new TypeError(`onConflict: expected 'replace' or 'keep', got ${JSON.stringify(onConflict)}.`);
  }
  return { taskId, result, error, ttlMs: ttlMs === Infinity ? null : ttlMs, keep: onConflict === "keep" };
}

// JSON.stringify writes U+0000 and lone surrogates as lower-case escapes (ECMA-262, QuoteJSONString), and jsonb rejects
// both.
const unstorableEscape = /(?<!\\)(?:\\\\)*\\u(0000|d[89a-f][0-9a-f]{2})/;
const exponent = /\d[eE][-+]?\d/;
const exponents = /\d[eE][-+]?(\d+)/g;

/** Node refuses longer strings, with an error that ends the process (V8, `String::kMaxLength`). */
const maxStringLength = 0x1fffffe8;
/** A failure may always take this many bytes, so that it keeps its name and message under any `maxResultBytes`. */
export const minFailureBytes = 1_024;

/** Longest stored text that is read back. jsonb adds a space after each comma and colon, so `[1,1]` grows by half. */
export const maxTextBytes = (maxResultBytes: number): number =>
  Math.min(Math.floor(Math.max(maxResultBytes, minFailureBytes) * 1.5), maxStringLength);

/**
 * Encodes a result as JSON text; `undefined` becomes `null`. Results are checked before they are batched, so that one
 * unstorable value cannot fail the others.
 *
 * @throws {@link ResultEncodingError} JSON or jsonb cannot hold the result, or it is too large.
 */
export function encodeResult(taskId: string, result: unknown, maxBytes: number, codec?: Codec): string {
  const text = result instanceof JsonText ? checkedText(taskId, result) : encodeValue(taskId, result, codec);
  // UTF-8 takes at most three bytes for each UTF-16 unit, so most texts need no exact count.
  if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes) {
    const bytes = Buffer.byteLength(text);
    throw new ResultEncodingError(taskId, `it takes ${bytes} bytes, more than maxResultBytes (${maxBytes})`);
  }
  if (!fitsAsJsonb(text, maxTextBytes(maxBytes))) {
    const reason = `jsonb writes its numbers without exponents, too long for readers by maxResultBytes (${maxBytes})`;
    throw new ResultEncodingError(taskId, reason);
  }
  return text;
}

/**
 * Checks that jsonb writes a JSON text within `maxBytes`. jsonb expands exponents: the 5 bytes of `1e308` become 309,
 * and `1e131071` takes 128 KiB. A text without exponents grows by spaces only. The exact count reads every token, which
 * takes 8 to 20 ms for 1 MB, so it is only made if an upper bound is too large.
 */
export function fitsAsJsonb(text: string, maxBytes: number): boolean {
  // Most texts have none, and looking for the first one is cheaper than for all.
  if (!exponent.test(text)) return true;
  const addedBytes = maxExponentBytes(text);
  // Spaces at most double a text.
  if (addedBytes === 0 || Buffer.byteLength(text) * 2 + addedBytes <= maxBytes) return true;
  let bytes = 0;
  for (const token of jsonTokens(text)) {
    if (token === "," || token === ":") bytes += 2;
    else if (/^[-\d].*e/i.test(token)) bytes += plainNumberLength(token);
    else bytes += Buffer.byteLength(token);
  }
  return bytes <= maxBytes;
}

/** Returns an upper bound for the bytes that exponents add, and 0 if there are none. */
function maxExponentBytes(text: string): number {
  let bytes = 0;
  for (const { index, 1: power } of text.matchAll(exponents))
    // A point, and a zero before it.
    if (mayEndNumber(text, index + 1)) bytes += Number(power) + 2;
  return bytes;
}

/**
 * Tells whether the digits before `end` may be a number. Most digits inside strings, as in base64 and in ids, follow
 * a character that no number can follow.
 */
function mayEndNumber(text: string, end: number): boolean {
  let start = end;
  while (isDigitOrPoint(text.charCodeAt(start - 1))) start -= 1;
  if (text[start - 1] === "-") start -= 1;
  return start === 0 || ", :[\n\t\r".includes(text.charAt(start - 1));
}

/** Also false for NaN, the code before the first character. */
const isDigitOrPoint = (code: number): boolean => (code >= 48 && code <= 57) || code === 46;

/** Returns the length of a number as `numeric` writes it: without its exponent, and with all its fraction digits. */
function plainNumberLength(number: string): number {
  const [mantissa = "", power = ""] = number.split(/[eE]/);
  const [whole = "", fraction = ""] = mantissa.replace("-", "").split(".");
  const leadingZeros = /^0*/.exec(whole + fraction)?.[0].length ?? 0;
  const isZero = leadingZeros === whole.length + fraction.length;
  const wholeDigits = isZero ? 1 : Math.max(1, whole.length + Number(power) - leadingZeros);
  const fractionDigits = Math.max(0, fraction.length - Number(power));
  return (number.startsWith("-") && !isZero ? 1 : 0) + wholeDigits + (fractionDigits > 0 ? 1 + fractionDigits : 0);
}

function encodeValue(taskId: string, result: unknown, codec: Codec | undefined): string {
  const text = stringify(taskId, codec === undefined ? result : encodeWith(codec, taskId, result));
  checkStrings(taskId, text);
  return text;
}

/**
 * Returns the text unchanged if it is storable JSON. Strings are checked with the escapes that `JSON.stringify` writes.
 */
function checkedText(taskId: string, { text }: JsonText): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ResultEncodingError(taskId, `it is not JSON: ${String(cause)}`, { cause });
  }
  checkStrings(taskId, stringify(taskId, value));
  return text;
}

function checkStrings(taskId: string, text: string): void {
  const escape = text.includes("\\u") ? unstorableEscape.exec(text)?.[1] : undefined;
  if (escape !== undefined)
    throw new ResultEncodingError(taskId, `jsonb cannot hold the character \\u${escape} in a string`);
}

function encodeWith(codec: Codec, taskId: string, result: unknown): unknown {
  let json: unknown;
  try {
    json = codec.encode(result);
  } catch (cause) {
    throw new ResultEncodingError(taskId, `the codec threw: ${String(cause)}`, { cause });
  }
  // JSON.stringify would store a promise as {}.
  if (typeof (json as PromiseLike<unknown> | null | undefined)?.then === "function")
    throw new ResultEncodingError(taskId, "the codec returned a promise; it must be synchronous");
  return json;
}

function stringify(taskId: string, result: unknown): string {
  if (result === undefined) return "null";
  let text: string | undefined;
  try {
    text = jsonText(result);
  } catch (cause) {
    const reason = isError(cause) ? lowerFirst(firstLine(cause.message)) : "it has no JSON form";
    throw new ResultEncodingError(taskId, reason, { cause });
  }
  if (text === undefined) throw new ResultEncodingError(taskId, `a ${typeof result} has no JSON form`);
  return text;
}

/** Returns undefined for a function or a symbol, which the type of `JSON.stringify` omits. */
const jsonText = (value: unknown): string | undefined => JSON.stringify(value);
const firstLine = (message: string): string => message.split("\n", 1)[0] ?? message;
const lowerFirst = (message: string): string => message.charAt(0).toLowerCase() + message.slice(1);
