import { TaskFailedError } from "../errors";
import { decodeFailure, reviveError } from "../value/failure";

/** The error of a failed task, from the JSON text that was stored. */
export function toFailedError(taskId: string, error: string): TaskFailedError {
  const failure = decodeFailure(error);
  return new TaskFailedError(taskId, failure, { cause: reviveError(failure) });
}
