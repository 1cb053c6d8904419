import { TaskFailedError } from "../errors";
import type { StoredResult } from "../notify/hint";
import { decodeFailure, reviveError } from "../value/failure";

/** The stored outcome, parsed anew for each caller, so that none sees what another does to it. */
export function toSettled<T>(stored: StoredResult): PromiseSettledResult<T> {
  if (stored.error === null) return { status: "fulfilled", value: JSON.parse(stored.result) as T };
  const failure = decodeFailure(stored.error);
  return { status: "rejected", reason: new TaskFailedError(stored.taskId, failure, { cause: reviveError(failure) }) };
}

/** The stored value; throws the `TaskFailedError` of a failure. */
export function toValue<T>(stored: StoredResult): T {
  const settled = toSettled<T>(stored);
  if (settled.status === "rejected") throw settled.reason;
  return settled.value;
}
