import { TaskFailedError } from "../errors";
import type { StoredResult } from "../notify/hint";
import type { TaskOutcome } from "../result-backend";
import { decodeFailure, reviveError } from "../value/failure";

/** The stored outcome, parsed anew for each caller, so that none sees what another does to it. */
export function toSettled<T>(stored: StoredResult): PromiseSettledResult<T> {
  if (stored.error === null) return { status: "fulfilled", value: JSON.parse(stored.result) as T };
  return { status: "rejected", reason: toFailedError(stored.taskId, stored.error) };
}

/** The same, with the task it is of. */
export function toOutcome<T>(stored: StoredResult): TaskOutcome<T> {
  return { taskId: stored.taskId, ...toSettled<T>(stored) };
}

/** The error of a failed task, from the JSON text that was stored. */
export function toFailedError(taskId: string, error: string): TaskFailedError {
  const failure = decodeFailure(error);
  return new TaskFailedError(taskId, failure, { cause: reviveError(failure) });
}

/** The stored value; throws the `TaskFailedError` of a failure. */
export function toValue<T>(stored: StoredResult): T {
  const settled = toSettled<T>(stored);
  if (settled.status === "rejected") throw settled.reason;
  return settled.value;
}
