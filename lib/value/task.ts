import { randomUUID } from "node:crypto";
import { checkId, typeName } from "./arguments";

declare const resultType: unique symbol;

/**
 * Id of a task, with the type of its result: `wait`, `get` and the others return that type, and `store` requires it. At
 * run time it is a plain string. Any string is the id of a task with a result of unknown type.
 */
export type TaskId<Result = unknown> = string & { readonly [resultType]?: Result };

/** A kind of task whose results all have one type. */
export interface TaskDefinition<Result> {
  readonly name: string;
  /** Creates the id `name:key` of a task of this kind. Default key: a random UUID. */
  readonly id: (key?: string) => TaskId<Result>;
  /** Returns whether an id belongs to a task of this kind. As `where` of `results$` it also types the stream. */
  readonly is: (taskId: string) => taskId is TaskId<Result>;
}

/**
 * Defines a kind of task for all code that stores or awaits its results: `const resize = defineTask<Size>("resize")`.
 * This only declares types; to check results at run time, pass a schema to the read.
 *
 * @param name - Not empty, and without a colon, which separates it from the key.
 */
export function defineTask<Result>(name: string): TaskDefinition<Result> {
  if (typeof (name as unknown) !== "string") throw new TypeError(`name: expected a string, got ${typeName(name)}.`);
  // With a colon, `a` with the key `b:c` and `a:b` with the key `c` would be one task with two types.
  if (name === "" || name.includes(":"))
    throw new RangeError(`name: expected text without a colon, got ${JSON.stringify(name)}.`);
  const prefix = `${name}:`;
  return {
    name,
    id: (key = randomUUID()) => {
      const taskId = prefix + key;
      checkId(taskId, "taskId");
      return taskId;
    },
    is: (taskId): taskId is TaskId<Result> => taskId.startsWith(prefix),
  };
}
