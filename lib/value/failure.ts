import { TaskFailedError, type TaskFailure } from "../errors";
import { JsonText, parseExactly, stringifyExactly } from "./json-text";
import { fitsAsJsonb, maxTextBytes, minFailureBytes } from "./jsonb-text";

/** How many levels of `cause` are stored. Deeper ones say no more to a caller, and a cycle has to end somewhere. */
export const maxCauseDepth = 5;

// jsonb has no U+0000 and no lone surrogates. A failure must reach its waiter whatever its message holds, so these become U+FFFD.
const unstorableEscape = /(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{2})/g;

/** Length of the name and the code of a failure that is too large. */
const maxLabelLength = 100;

/**
 * The JSON text of any thrown value. Never throws: details that JSON cannot hold are left out. One that is too large loses its details first, then its causes, then
 * the end of its message. Stacks are not stored; they show paths.
 */
export function encodeFailure(error: unknown, maxBytes = Infinity): string {
  const limit = Math.max(maxBytes, minFailureBytes);
  const failure = describeFailure(error, 0, encodedDetails);
  return (
    textWithin(failure, limit) ??
    textWithin(withoutDetails(failure), limit) ??
    textOfMessage(failure, Math.min(limit, failure.message.length), limit)
  );
}

/**
 * Other texts for a failure that the server refused, to be tried in this order: in ASCII, for a database whose encoding lacks a character; and without the details,
 * which may be nested too deeply.
 */
export function plainerFailures(text: string): string[] {
  const ascii = toAscii(text);
  const bare = toAscii(JSON.stringify(withoutDetails(decodeFailure(text))));
  return [ascii, bare].filter((each) => each !== text);
}

/** As `\u20ac` in so many characters, since jsonb translates a real escape. Other than in strings JSON is ASCII. */
const toAscii = (json: string): string =>
  json.replace(/[^\x00-\x7f]/g, (unit) => `\\\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

function textWithin(failure: TaskFailure, maxBytes: number): string | undefined {
  if (failure.message.length > maxBytes) return undefined;
  try {
    // The character itself, not its escape: where the database lacks it, `toAscii` finds it.
    const text = (stringifyExactly(failure) ?? "").replace(unstorableEscape, "$1\ufffd");
    const fits = text.length <= maxBytes && Buffer.byteLength(text) <= maxBytes;
    return fits && fitsAsJsonb(text, maxTextBytes(maxBytes)) ? text : undefined;
  } catch {
    return undefined; // Longer than a string can be.
  }
}

function textOfMessage(failure: TaskFailure, length: number, maxBytes: number): string {
  const { name, message, code } = failure;
  const short = {
    name: cutOff(name, maxLabelLength),
    message: cutOff(message, length),
    ...(typeof code === "string" ? { code: cutOff(code, maxLabelLength) } : {}),
    // Not a number that is kept as it is written, which may be of any size.
    ...(typeof code === "number" ? { code } : {}),
  };
  // A character takes up to six bytes, as an escape.
  return textWithin(short, maxBytes) ?? textOfMessage(failure, Math.floor(length / 2), maxBytes);
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

// A number that a double cannot hold is written as it is.
const isCode = (code: unknown): code is string | number =>
  typeof code === "string" || (typeof code === "number" && Number.isFinite(code)) || code instanceof JsonText;

type FailureFields = Partial<Record<"name" | "message" | "code" | "details" | "cause", unknown>>;

/** A getter, or a proxy, may throw; what it guards is then left out. */
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

/** Details as JSON can hold them; undefined if it cannot. Stringified once: what a `toJSON` gives may differ from call to call. */
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
  texts.set(failure, text);
  return failure;
}

/** What decoded failures were decoded from. */
const texts = new WeakMap<TaskFailure, string>();

/** The same failure, with a `JsonText` for each number that was rounded when it was read; for what prints it by `stringifyExactly`. */
export function exactFailure(failure: TaskFailure): TaskFailure {
  const text = texts.get(failure);
  return text === undefined ? failure : describeFailure(parseExactly(text), 0, (details) => details);
}

/** An `Error` made from what was stored, for the `cause` of a `TaskFailedError`. */
export function reviveError(failure: TaskFailure): Error {
  const options = failure.cause === undefined ? undefined : { cause: reviveError(failure.cause) };
  const error = new Error(failure.message, options);
  // Not enumerable, as on a built-in error, so that printing it looks the same.
  Object.defineProperty(error, "name", { value: failure.name, configurable: true, writable: true });
  // Where it was revived says nothing, and where it was thrown was not stored.
  error.stack = `${failure.name}: ${failure.message}`;
  if (failure.code !== undefined) Object.assign(error, { code: failure.code });
  if (failure.details !== undefined) Object.assign(error, { details: failure.details });
  return error;
}

/** Creates the error of a failed task from its stored JSON text. */
export function toFailedError(taskId: string, error: string): TaskFailedError {
  const failure = decodeFailure(error);
  return new TaskFailedError(taskId, failure, { cause: reviveError(failure) });
}
