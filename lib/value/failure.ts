import type { TaskFailure } from "../errors";
import { jsonText } from "./json";

/** How many levels of `cause` are stored. Deeper ones say no more to a caller, and a cycle has to end somewhere. */
export const maxCauseDepth = 5;

// jsonb has no U+0000 and no lone surrogates. A failure must reach its waiter whatever its message holds, so these become U+FFFD.
const unstorableEscape = /(?<!\\)((?:\\\\)*)\\u(?:0000|d[89a-f][0-9a-f]{2})/g;

/** The JSON text of any thrown value. Never throws: details that JSON cannot hold are left out. Stacks are not stored; they show paths. */
export function encodeFailure(error: unknown): string {
  return JSON.stringify(describeFailure(error, 0)).replace(unstorableEscape, "$1\\ufffd");
}

function describeFailure(error: unknown, depth: number): TaskFailure {
  if (typeof error !== "object" || error === null) return { name: "Error", message: asText(error) };
  const { name, message, code, details, cause } = readFields(error);
  const form = jsonForm(details);
  return {
    name: typeof name === "string" && name !== "" ? name : "Error",
    message: typeof message === "string" ? message : asText(error),
    ...(typeof code === "string" || (typeof code === "number" && Number.isFinite(code)) ? { code } : {}),
    ...(form === undefined ? {} : { details: form }),
    ...(cause !== undefined && cause !== null && depth < maxCauseDepth
      ? { cause: describeFailure(cause, depth + 1) }
      : {}),
  };
}

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
function jsonForm(value: unknown): unknown {
  try {
    const text = jsonText(value);
    return text === undefined ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}

function asText(value: unknown): string {
  try {
    return typeof value === "object" && value !== null ? (jsonText(value) ?? "[object]") : String(value);
  } catch {
    return "[object that cannot be shown]";
  }
}

/** Reads the column `error`. Any JSON is accepted, since writers in other languages fill it too. */
export function decodeFailure(text: string): TaskFailure {
  return describeFailure(JSON.parse(text) as unknown, 0);
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
