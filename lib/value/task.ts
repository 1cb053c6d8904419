import { randomUUID } from "node:crypto";
import { checkId, typeName } from "./arguments";

declare const resultType: unique symbol;

/**
 * The id of a task, with the type of its result: `wait`, `get` and their like then give that type, and `store` asks for it. At run time it is a string and
 * nothing else; any string is the id of a task with a result of unknown type.
 */
export type TaskId<Result = unknown> = string & { readonly [resultType]?: Result };

/** A kind of tasks, all with results of one type. */
export interface TaskDefinition<Result> {
  readonly name: string;
  /** The id of one of them: `name:key`. Default key: a random one. */
  readonly id: (key?: string) => TaskId<Result>;
  /** Whether an id is that of one of them. As `where` of `results$` it also types the stream. */
  readonly is: (taskId: string) => taskId is TaskId<Result>;
}

/**
 * Names a kind of tasks, for all who store and await results of them: `const resize = defineTask<Size>("resize")`. Types only: what is stored is checked by a
 * schema, or by nobody.
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
