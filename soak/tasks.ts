import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { TaskFailedError } from "kojin-postgres";

const failingMark = " (fails)";

/** Creates an id. The value stored under it follows from the id. */
export function taskIdOf(name: string, fails: boolean): string {
  return fails ? `${name}${failingMark}` : name;
}

/** Returns true if the task with this id fails. */
export const isFailing = (taskId: string): boolean => taskId.endsWith(failingMark);

export interface TaskValue {
  readonly taskId: string;
  readonly digest: string;
  readonly odd: readonly unknown[];
}

/** The result of a task that succeeds. Some results are large. */
export function valueOf(taskId: string): TaskValue {
  const digest = createHash("sha256").update(taskId).digest("hex");
  const repeats = digest.startsWith("0") ? 300 : 1;
  return { taskId, digest: digest.repeat(repeats), odd: [null, true, -1.5e-7, 'ü"\\', {}, []] };
}

export function failureOf(taskId: string): Error {
  return new RangeError(`As planned, ${taskId}`);
}

/** Describes what is wrong with a task's outcome; undefined if it is what was stored. */
export function differenceOf(taskId: string, settled: PromiseSettledResult<unknown>): string | undefined {
  if (settled.status === "fulfilled")
    return !isFailing(taskId) && isDeepStrictEqual(settled.value, valueOf(taskId))
      ? undefined
      : `got the value ${JSON.stringify(settled.value).slice(0, 200)}`;
  const reason: unknown = settled.reason;
  const isRight =
    isFailing(taskId) &&
    reason instanceof TaskFailedError &&
    reason.taskId === taskId &&
    reason.failure.name === "RangeError" &&
    reason.failure.message === failureOf(taskId).message;
  return isRight ? undefined : `got the failure ${String(reason)}`;
}
