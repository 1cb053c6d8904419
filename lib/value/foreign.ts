import { types } from "node:util";
import type { BackendClosedError, TaskFailedError, WaitTimeoutError } from "../errors";

/** Whether a value is an error of any realm: those of Node's own modules are no `Error` of Jest's, and those of a worker's `vm` context neither. */
export const isError = (value: unknown): value is Error => value instanceof Error || types.isNativeError(value);

/** Whether a value is an `AggregateError` of any realm, such as Node gives for a name with several addresses. */
export const isAggregateError = (value: unknown): value is AggregateError =>
  isError(value) && value.name === "AggregateError" && Array.isArray((value as { errors?: unknown }).errors);

/** Whether a value is a promise of any realm or library. */
export const isThenable = (value: unknown): boolean =>
  (typeof value === "object" || typeof value === "function") &&
  value !== null &&
  typeof (value as { then?: unknown }).then === "function";

// By its code and not by `instanceof`: where entry points of this package are bundled by themselves, or a module registry is reset, there are several
// copies of these classes.
const hasCode = (error: unknown, code: string): boolean =>
  isError(error) && (error as { code?: unknown }).code === code;

/** Whether an error is a `WaitTimeoutError` of any copy of this package. */
export const isWaitTimeout = (error: unknown): error is WaitTimeoutError => hasCode(error, "WAIT_TIMEOUT");

/** Whether an error is a `TaskFailedError` of any copy of this package. */
export const isTaskFailed = (error: unknown): error is TaskFailedError => hasCode(error, "TASK_FAILED");

/** Whether an error is a `BackendClosedError` of any copy of this package. */
export const isBackendClosed = (error: unknown): error is BackendClosedError => hasCode(error, "BACKEND_CLOSED");
