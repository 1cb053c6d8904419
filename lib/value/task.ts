import { randomUUID } from "node:crypto";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { checkId, checkOptions, typeName } from "./arguments";
import { checkSchema, type ResultSchema } from "./decoding";

declare const resultType: unique symbol;
declare const storedType: unique symbol;

/**
 * Id of a task, with the types of its result: `wait`, `get` and the others return `Result`, and `store` requires
 * `Stored`. At run time it is a plain string. Any string is the id of a task with a result of unknown type.
 */
export type TaskId<Result = unknown, Stored = Result> = string & {
  readonly [resultType]?: Result;
  readonly [storedType]?: Stored;
};

export interface TaskDefinitionOptions<Result, Stored> {
  /**
   * Standard Schema that validates each result of such a task that this process reads, unless the read has a schema of
   * its own. Readers receive its output, and writers store its input. Default: results are not validated.
   */
  readonly schema?: StandardSchemaV1<Stored, Result>;
}

/** A kind of task whose results all have one type. */
export interface TaskDefinition<Result, Stored = Result> {
  readonly name: string;
  /** Creates the id `name:key` of a task of this kind. Default key: a random UUID. */
  readonly id: (key?: string) => TaskId<Result, Stored>;
  /** Returns whether an id belongs to a task of this kind. As `where` of `results$` it also types the stream. */
  readonly is: (taskId: string) => taskId is TaskId<Result, Stored>;
}

/** The schemas of tasks in this process, by the names of the tasks. */
const schemas = new Map<string, ResultSchema<unknown>>();

/** True if a result that is read without a schema may have one by its id. */
export const hasTaskSchemas = (): boolean => schemas.size > 0;

/** Returns the schema for the result of a task: `schema`, or by default that of its definition. */
export function schemaFor<T>(taskId: string, schema: ResultSchema<T> | undefined): ResultSchema<T> | undefined {
  if (schema !== undefined || schemas.size === 0) return schema;
  return schemas.get(taskId.slice(0, Math.max(0, taskId.indexOf(":")))) as ResultSchema<T> | undefined;
}

/**
 * Defines a kind of task for all code that stores or awaits its results: `const resize = defineTask<Size>("resize")`,
 * or `defineTask("resize", { schema })`. If a name is defined more than once, the latest schema applies.
 *
 * @param name - Not empty, and without a colon, which separates it from the key.
 */
export function defineTask<Result = unknown, Stored = Result>(
  name: string,
  options: TaskDefinitionOptions<Result, Stored> = {},
): TaskDefinition<Result, Stored> {
  if (typeof (name as unknown) !== "string") throw new TypeError(`name: expected a string, got ${typeName(name)}.`);
  // With a colon, `a` with the key `b:c` and `a:b` with the key `c` would be one task with two types.
  if (name === "" || name.includes(":"))
    throw new RangeError(`name: expected text without a colon, got ${JSON.stringify(name)}.`);
  checkOptions(options, { schema: true });
  const { schema } = options;
  checkSchema(schema);
  if (schema !== undefined) schemas.set(name, schema);
  const prefix = `${name}:`;
  return {
    name,
    id: (key = randomUUID()) => {
      const taskId = prefix + key;
      checkId(taskId, "taskId");
      return taskId;
    },
    is: (taskId): taskId is TaskId<Result, Stored> => taskId.startsWith(prefix),
  };
}
