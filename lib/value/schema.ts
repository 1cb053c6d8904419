import type { StandardSchemaV1 } from "@standard-schema/spec";
import { ResultValidationError } from "../errors";
import { typeName } from "./arguments";

/** Anything that checks a value and gives its type: a schema of zod, valibot, arktype or their like (https://standardschema.dev). */
export type ResultSchema<T> = StandardSchemaV1<unknown, T>;

/** Throws unless `schema` is left out, or is a Standard Schema. Some, such as those of arktype, are functions. */
export function checkSchema(schema: unknown): void {
  if (schema === undefined) return;
  const isPossible = (typeof schema === "object" && schema !== null) || typeof schema === "function";
  const { validate } = (isPossible ? (schema as Partial<StandardSchemaV1>)["~standard"] : undefined) ?? {};
  if (typeof validate !== "function")
    throw new TypeError(
      `schema: expected a Standard Schema, got ${isPossible ? `${typeName(schema)} without one` : typeName(schema)}.`,
    );
}

/** The value as its schema gives it. Whatever goes wrong in a schema is an error of the one call that gave it. */
export async function validate<T>(schema: ResultSchema<T>, taskId: string, value: unknown): Promise<T> {
  let outcome: StandardSchemaV1.Result<T>;
  try {
    outcome = await schema["~standard"].validate(value);
  } catch (cause) {
    throw new ResultValidationError(taskId, [{ message: `the schema threw: ${String(cause)}` }], { cause });
  }
  if (outcome.issues !== undefined) throw new ResultValidationError(taskId, outcome.issues);
  return outcome.value;
}
