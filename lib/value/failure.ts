import { TaskFailedError, type TaskFailure } from "../errors";
import { fitsAsJsonb, maxTextBytes, minFailureBytes } from "./encoding";
import { JsonText, parseExactly, stringifyExactly } from "./json-text";

/** Levels of `cause` that are stored. Deeper ones say no more to a caller, and a cycle has to end somewhere. */
export const maxCauseDepth = 5;

// jsonb rejects U+0000 and lone surrogates. A failure must always reach its waiter, so they become U+FFFD.
const unstorableEscape = /(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{2})/g;

/** Longest name and code, in UTF-16 units, of a failure that is too large. */
const maxLabelLength = 100;

/**
 * Encodes any thrown value as JSON text. Never throws: details that JSON cannot hold are left out. A failure that is
 * too large loses its details first, then its causes, then the end of its message. Stacks are not stored; they show
 * paths.
 */
export function encodeFailure(error: unknown, maxBytes = Infinity): string {
  const limit = Math.max(maxBytes, minFailureBytes);
  const failure = describeFailure(error, 0, encodedDetails);
  return (
    textWithin(failure, limit) ??
    textWithin(withoutDetails(failure), limit) ??
    shortenedText(failure, Math.min(limit, failure.message.length), maxLabelLength, limit)
  );
}

/**
 * Returns other texts for a failure that the server rejected, in the order to try them: in ASCII, for a database whose
 * encoding lacks a character, then without details, which may be nested too deeply.
 */
export function plainerFailures(text: string): string[] {
  const ascii = toAscii(text);
  const bare = toAscii(JSON.stringify(withoutDetails(decodeFailure(text))));
  return [ascii, bare].filter((each) => each !== text);
}

/** Spells characters out as text such as `\u20ac`: jsonb decodes a real escape. JSON is ASCII outside of strings. */
const toAscii = (json: string): string =>
  json.replace(/[^\x00-\x7f]/g, (unit) => `\\\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

function textWithin(failure: TaskFailure, maxBytes: number): string | undefined {
  if (failure.message.length > maxBytes) return undefined;
  try {
    // The character U+FFFD, not its escape: `toAscii` has to find it where the database lacks it.
    const text = (stringifyExactly(failure) ?? "").replace(unstorableEscape, "$1\ufffd");
    const fits = text.length <= maxBytes && Buffer.byteLength(text) <= maxBytes;
    return fits && fitsAsJsonb(text, maxTextBytes(maxBytes)) ? text : undefined;
  } catch {
    return undefined; // Longer than a string can be.
  }
}

/**
 * Cuts the message to `length`, then halves it until the text fits, and then the name and the code: an escaped
 * character takes up to six bytes.
 */
function shortenedText(failure: TaskFailure, length: number, labelLength: number, maxBytes: number): string {
  const { name, message, code } = failure;
  const short = {
    name: cutOff(name, labelLength),
    message: cutOff(message, length),
    ...(typeof code === "string" ? { code: cutOff(code, labelLength) } : {}),
    // A JsonText is left out, as its number may have any size.
    ...(typeof code === "number" ? { code } : {}),
  };
  const next =
    length > 0 ? ([Math.floor(length / 2), labelLength] as const) : ([0, Math.floor(labelLength / 2)] as const);
  return textWithin(short, maxBytes) ?? shortenedText(failure, ...next, maxBytes);
}

const cutOff = (text: string, length: number): string => (text.length <= length ? text : `${text.slice(0, length)}…`);

function withoutDetails({ name, message, code, cause }: TaskFailure): TaskFailure {
  return {
    name,
    message,
    ...(code === undefined ? {} : { code }),
    ...(cause === undefined ? {} : { cause: withoutDetails(cause) }),
  };
}

type DetailsForm = (details: unknown) => unknown;

function describeFailure(error: unknown, depth: number, formOf: DetailsForm): TaskFailure {
  if (typeof error !== "object" || error === null) return { name: "Error", message: asText(error) };
  const { name, message, code, details, cause } = readFields(error);
  const form = formOf(details);
  return {
    name: typeof name === "string" && name !== "" ? name : "Error",
    message: typeof message === "string" ? message : asText(error),
    ...(isCode(code) ? { code } : {}),
    ...(form === undefined ? {} : { details: form }),
    ...(cause !== undefined && cause !== null && depth < maxCauseDepth
      ? { cause: describeFailure(cause, depth + 1, formOf) }
      : {}),
  };
}

/** Accepts a JsonText too, which holds a number that a double cannot. */
const isCode = (code: unknown): code is string | number =>
  typeof code === "string" || (typeof code === "number" && Number.isFinite(code)) || code instanceof JsonText;

type FailureFields = Partial<Record<"name" | "message" | "code" | "details" | "cause", unknown>>;

/** Reads the fields of a thrown object, without those whose getter or proxy throws. */
function readFields(error: object): FailureFields {
  const fields: FailureFields = {};
  for (const field of ["name", "message", "code", "details", "cause"] as const) {
    try {
      fields[field] = (error as FailureFields)[field];
    } catch {
      // Left out.
    }
  }
  return fields;
}

/** Stringifies details once, as a second `toJSON` may return something else; undefined if JSON cannot hold them. */
function encodedDetails(value: unknown): JsonText | undefined {
  try {
    const text = stringifyExactly(value);
    return text === undefined ? undefined : new JsonText(text);
  } catch {
    return undefined;
  }
}

function asText(value: unknown): string {
  try {
    return typeof value === "object" && value !== null ? (stringifyExactly(value) ?? "[object]") : String(value);
  } catch {
    return "[object that cannot be shown]";
  }
}

/** Reads the column `error`. Any JSON is accepted, since writers in other languages fill it too. */
export function decodeFailure(text: string): TaskFailure {
  const failure = describeFailure(JSON.parse(text) as unknown, 0, (details) => details);
  storedTexts.set(failure, text);
  return failure;
}

/** Remembers the text of each decoded failure for `exactFailure`. */
const storedTexts = new WeakMap<TaskFailure, string>();

/** Returns a decoded failure with a `JsonText` for each number that decoding rounded, for `stringifyExactly`. */
export function exactFailure(failure: TaskFailure): TaskFailure {
  const text = storedTexts.get(failure);
  return text === undefined ? failure : describeFailure(parseExactly(text), 0, (details) => details);
}

/** Creates an `Error` from what was stored, to be the `cause` of a `TaskFailedError`. */
export function reviveError(failure: TaskFailure): Error {
  const options = failure.cause === undefined ? undefined : { cause: reviveError(failure.cause) };
  const error = new Error(failure.message, options);
  // Not enumerable, as on a built-in error, so that it prints the same.
  Object.defineProperty(error, "name", { value: failure.name, configurable: true, writable: true });
  // The stack of this call is meaningless, and the stack of the original error was not stored.
  error.stack = `${failure.name}: ${failure.message}`;
  if (failure.code !== undefined) Object.assign(error, { code: failure.code });
  if (failure.details !== undefined) Object.assign(error, { details: failure.details });
  return error;
}

/** Creates the error of a failed task from the JSON text of its failure. */
export function toFailedError(taskId: string, text: string): TaskFailedError {
  const failure = decodeFailure(text);
  return new TaskFailedError(taskId, failure, { cause: reviveError(failure) });
}
