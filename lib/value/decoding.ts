import type { StandardSchemaV1 } from "@standard-schema/spec";
import { concatMap, dematerialize, materialize, type OperatorFunction } from "rxjs";
import { ResultEncodingError, ResultValidationError } from "../errors";
import { typeName } from "./arguments";
import type { Codec } from "./encoding";
import { toFailedError } from "./failure";
import { JsonText, stringifyExactly } from "./json-text";

/** A result as it was read. Its JSON is still text, so that each of several waiters parses a copy of its own. */
export interface StoredResult {
  readonly taskId: string;
  /** JSON text. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** Database time, in microseconds since 1970; exact until 2106. */
  readonly storedAt: number;
  /** The text is longer than `maxResultBytes` allows, and was not read. */
  readonly isTooLarge?: boolean;
  /** Transaction that stored it; 0 or absent if unknown. */
  readonly storedXid?: number;
  /** Span that stored it, as a W3C `traceparent`. Only with telemetry, and never on an inline result. */
  readonly traceContext?: string | null;
  /** Age when it was read, in milliseconds of the database's clock. Present as `traceContext` is. */
  readonly ageMs?: number;
}

/** Schema of zod, valibot, arktype or another library that implements Standard Schema (https://standardschema.dev). */
export type ResultSchema<T> = StandardSchemaV1<unknown, T>;

/**
 * Schema that returns the stored JSON text instead of its value. With a codec, or with a backend of another package, it
 * returns the text of the decoded value.
 */
export const asJsonText: ResultSchema<JsonText> = {
  "~standard": {
    version: 1,
    vendor: "kojin-postgres",
    validate: (value) => ({ value: new JsonText(stringifyExactly(value) ?? "null") }),
  },
};

/** Throws unless `schema` is absent or a Standard Schema. Those of some libraries, such as arktype, are functions. */
export function checkSchema(schema: unknown): void {
  if (schema === undefined) return;
  const isPossible = (typeof schema === "object" && schema !== null) || typeof schema === "function";
  const standard = isPossible ? (schema as Partial<StandardSchemaV1>)["~standard"] : undefined;
  if (typeof standard?.validate === "function") return;
  const found = isPossible ? `${typeName(schema)} without one` : typeName(schema);
  throw new TypeError(`schema: expected a Standard Schema, got ${found}.`);
}

/**
 * Decodes a stored result: through the codec, then through the caller's schema. Returns synchronously without a schema.
 *
 * @throws {@link TaskFailedError} The task failed.
 * @throws {@link ResultEncodingError} The text is too large to be read.
 * @throws {@link ResultValidationError} The codec or the schema rejects the result.
 */
export function decodeResult<T>(
  stored: StoredResult,
  codec: Codec | undefined,
  schema: ResultSchema<T> | undefined,
): T | Promise<T> {
  const { taskId, result, error } = stored;
  if (stored.isTooLarge === true) throw ResultEncodingError.whenRead(taskId);
  if (error !== null) throw toFailedError(taskId, error);
  // The text as it was stored. With a codec the caller wants the JSON of the decoded value.
  if ((schema as unknown) === asJsonText && codec === undefined) return new JsonText(result) as T;
  const json = JSON.parse(result) as unknown;
  const value = codec === undefined ? json : decodeWith(codec, taskId, json);
  return schema === undefined ? (value as T) : validate(schema, taskId, value);
}

function decodeWith(codec: Codec, taskId: string, json: unknown): unknown {
  try {
    return codec.decode(json);
  } catch (cause) {
    throw new ResultValidationError(taskId, [{ message: `the codec threw: ${String(cause)}` }], { cause });
  }
}

async function validate<T>(schema: ResultSchema<T>, taskId: string, value: unknown): Promise<T> {
  let outcome: StandardSchemaV1.Result<T>;
  try {
    outcome = await schema["~standard"].validate(value);
  } catch (cause) {
    throw new ResultValidationError(taskId, [{ message: `the schema threw: ${String(cause)}` }], { cause });
  }
  if (outcome.issues !== undefined) throw new ResultValidationError(taskId, outcome.issues);
  return outcome.value;
}

export type Awaitable<T> = T | Promise<T>;

/**
 * Converts values one after the other, in order. An error of the source follows the values before it, though these may
 * be converted later; `concatMap` alone would drop them.
 */
export function convertInOrder<S, T>(convert: (stored: S) => Awaitable<T>): OperatorFunction<S, T> {
  return (source$) =>
    source$.pipe(
      materialize(),
      concatMap((notification) => {
        if (notification.kind !== "N") return [notification];
        const converted = convert(notification.value);
        return converted instanceof Promise ? converted.then(toNext) : [toNext(converted)];
      }),
      dematerialize(),
    );
}

const toNext = <T>(value: T): { readonly kind: "N"; readonly value: T } => ({ kind: "N", value });
