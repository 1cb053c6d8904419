import { types } from "node:util";
import type { StandardSchemaV1 } from "@standard-schema/spec";

/** Base class of all errors of this package: `catch (error) { if (error instanceof ResultBackendError) … }`. */
export abstract class ResultBackendError extends Error {
  /** Equal to the class name, even after minifying and across processes. */
  abstract override readonly name: string;
  /** Constant to switch on. */
  abstract readonly code: string;
}

/** Target of a wait: a task or a group. */
export type WaitTarget = { readonly taskId: string } | { readonly groupId: string };

/** A wait reached its timeout. The task or group may still finish later. */
export class WaitTimeoutError extends ResultBackendError {
  override readonly name = "WaitTimeoutError";
  readonly code = "WAIT_TIMEOUT";
  /** Id of the task, if the wait was for a task. */
  declare readonly taskId?: string;
  /** Id of the group, if the wait was for a group. Exactly one of `taskId` and `groupId` is set. */
  declare readonly groupId?: string;
  constructor(
    target: WaitTarget,
    /** The timeout of the wait, in milliseconds. */
    readonly timeoutMs: number,
    options?: ErrorOptions & { readonly message?: string },
  ) {
    super(options?.message ?? lateMessage(target, timeoutMs), options);
    if ("taskId" in target) this.taskId = target.taskId;
    else this.groupId = target.groupId;
  }

  /** Creates the error for a group. Its message says how many members had finished. */
  static forGroup(
    groupId: string,
    timeoutMs: number,
    progress: { readonly total: number | null; readonly completed: number; readonly failed: number } | undefined,
    options?: ErrorOptions,
  ): WaitTimeoutError {
    const state =
      progress === undefined
        ? "it was never initialised, or it has expired"
        : progress.total === null
          ? "it was never initialised"
          : `${progress.completed + progress.failed} of ${progress.total} members have finished`;
    const message = `Group ${groupId} was not done within ${timeoutMs} ms: ${state}.`;
    return new WaitTimeoutError({ groupId }, timeoutMs, { ...options, message });
  }
}

function lateMessage(target: WaitTarget, timeoutMs: number): string {
  if ("taskId" in target) return `No result for task ${target.taskId} within ${timeoutMs} ms.`;
  return `Group ${target.groupId} was not done within ${timeoutMs} ms.`;
}

/** Failure of a task as stored in the column `error`: plain JSON that any language can write. */
export interface TaskFailure {
  /** Class of the error, such as `TypeError`. */
  readonly name: string;
  readonly message: string;
  /** Machine-readable code, if the error had one. */
  readonly code?: string | number;
  /** Anything else the task reported, if JSON can hold it. */
  readonly details?: unknown;
  /** Cause of the error, up to five levels deep. */
  readonly cause?: TaskFailure;
}

/** The task itself failed, and `fail` stored its failure. `cause` is an `Error` created from the stored failure. */
export class TaskFailedError extends ResultBackendError {
  override readonly name = "TaskFailedError";
  readonly code = "TASK_FAILED";
  constructor(
    readonly taskId: string,
    /** Stored name, message, code and details of the task's own error. */
    readonly failure: TaskFailure,
    options?: ErrorOptions,
  ) {
    super(`Task ${taskId} failed: ${failure.name}: ${failure.message}`, options);
  }
}

/**
 * A task is unknown, and the call has `mustExist` set. The task has no result and no chunks, and is not expected: they
 * have expired, were deleted, or are not committed yet.
 */
export class TaskNotFoundError extends ResultBackendError {
  override readonly name = "TaskNotFoundError";
  readonly code = "TASK_NOT_FOUND";
  constructor(
    readonly taskId: string,
    options?: ErrorOptions,
  ) {
    super(
      `Task ${taskId} is unknown: it has no result, and is not expected. Call expect before the task starts.`,
      options,
    );
  }
}

/** A chunk was emitted for a task that already has a result. Nothing was stored. */
export class TaskFinishedError extends ResultBackendError {
  override readonly name = "TaskFinishedError";
  readonly code = "TASK_FINISHED";
  constructor(
    readonly taskId: string,
    options?: ErrorOptions,
  ) {
    super(
      `Task ${taskId} already has a result, so it takes no more chunks. To run it again, delete its result first.`,
      options,
    );
  }
}

/** A group is complete, and at least one of its members failed. */
export class GroupFailedError extends ResultBackendError {
  override readonly name = "GroupFailedError";
  readonly code = "GROUP_FAILED";
  constructor(
    readonly groupId: string,
    /** One entry for each failed member. */
    readonly failures: readonly TaskFailedError[],
    options?: ErrorOptions,
  ) {
    super(`Group ${groupId} is complete, with ${failures.length} failed member(s).`, options);
  }
}

/** A call contradicts the stored group: it has another total, or does not declare that member. */
export class GroupConflictError extends ResultBackendError {
  override readonly name = "GroupConflictError";
  readonly code = "GROUP_CONFLICT";
  constructor(
    readonly groupId: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** `close()` was called before this call, or while it was waiting. */
export class BackendClosedError extends ResultBackendError {
  override readonly name = "BackendClosedError";
  readonly code = "BACKEND_CLOSED";
  constructor(options?: ErrorOptions) {
    super("The result backend is closed.", options);
  }
}

/**
 * A result cannot be stored, because JSON or jsonb cannot hold it or it exceeds `maxResultBytes`. Or a stored result
 * cannot be read, because its text is too large: the reader has a smaller `maxResultBytes` than the writer, or SQL
 * stored numbers such as `1e131071`.
 */
export class ResultEncodingError extends ResultBackendError {
  override readonly name = "ResultEncodingError";
  readonly code = "RESULT_ENCODING";
  constructor(
    readonly taskId: string,
    /** Reason as a clause: "a BigInt has no JSON form". */
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`The result of task ${taskId} cannot be stored: ${reason}.`, options);
  }

  /** Creates the error for a stored result that is too large to be read. */
  static whenRead(taskId: string): ResultEncodingError {
    const reason = "as text it takes more bytes than maxResultBytes of the reader allows";
    const error = new ResultEncodingError(taskId, reason);
    error.message = `The result of task ${taskId} cannot be read: ${reason}.`;
    return error;
  }
}

/** The reader's schema or codec rejected a stored result. The result stays as it is. */
export class ResultValidationError extends ResultBackendError {
  override readonly name = "ResultValidationError";
  readonly code = "RESULT_VALIDATION";
  constructor(
    readonly taskId: string,
    /** Issues reported by the schema, at least one. Some schemas repeat the value in them. */
    readonly issues: readonly StandardSchemaV1.Issue[],
    options?: ErrorOptions,
  ) {
    const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : "";
    super(`The result of task ${taskId} does not have the expected form: ${describeIssue(issues[0])}${more}.`, options);
  }
}

function describeIssue(issue: StandardSchemaV1.Issue | undefined): string {
  const keys = Array.from(issue?.path ?? [], (part) => String(typeof part === "object" ? part.key : part));
  const message = issue?.message.replace(/\.$/, "") ?? "no reason was given";
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}

/** The tables do not match this version. The message says what to run. */
export class SchemaError extends ResultBackendError {
  override readonly name = "SchemaError";
  readonly code = "SCHEMA";
  constructor(
    /** Name of the database schema. */
    readonly schema: string,
    readonly reason: "missing" | "outdated" | "newer",
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Postgres, or the connection to it, failed. `cause` is the driver's error. */
export class DatabaseError extends ResultBackendError {
  override readonly name = "DatabaseError";
  readonly code = "DATABASE";
  /**
   * Origin of the error. `connecting`: no session could be opened. `session`: the session ended or did not answer.
   * `statement`: the server rejected a statement, and the session is still usable.
   */
  readonly origin: "connecting" | "session" | "statement";
  constructor(
    message: string,
    /** SQLSTATE of five characters; undefined if no server answered. */
    readonly sqlState: string | undefined,
    /** True if the same call may succeed later. Such an error is thrown only after retries. */
    readonly transient: boolean,
    options?: ErrorOptions & { readonly origin?: DatabaseError["origin"] },
  ) {
    super(message, options);
    this.origin = options?.origin ?? "session";
  }
}

/** An optional package is required but not installed. The message says how to install it. */
export class MissingPackageError extends ResultBackendError {
  override readonly name = "MissingPackageError";
  readonly code = "MISSING_PACKAGE";
  constructor(
    /** Package to install. */
    readonly packageName: string,
    /** Feature that needs it. */
    neededBy: string,
    options?: ErrorOptions,
  ) {
    super(`${neededBy} needs the package ${packageName}: npm install ${packageName}`, options);
  }
}

/**
 * Recognises errors of any realm: those of Node's own modules are not `instanceof` the `Error` of Jest or of a `vm`
 * context.
 */
export const isError = (value: unknown): value is Error => value instanceof Error || types.isNativeError(value);

/** Recognises an `AggregateError` of any realm, such as Node's for a host name with several addresses. */
export const isAggregateError = (value: unknown): value is AggregateError =>
  isError(value) && value.name === "AggregateError" && Array.isArray((value as { errors?: unknown }).errors);

/** Recognises a `WaitTimeoutError` of any copy of this package. */
export const isWaitTimeout = (error: unknown): error is WaitTimeoutError => hasCode(error, "WAIT_TIMEOUT");

/** Recognises a `TaskFailedError` of any copy of this package. */
export const isTaskFailed = (error: unknown): error is TaskFailedError => hasCode(error, "TASK_FAILED");

/** Recognises a `TaskNotFoundError` of any copy of this package. */
export const isTaskNotFound = (error: unknown): error is TaskNotFoundError => hasCode(error, "TASK_NOT_FOUND");

/** Recognises a `BackendClosedError` of any copy of this package. */
export const isBackendClosed = (error: unknown): error is BackendClosedError => hasCode(error, "BACKEND_CLOSED");

// Not instanceof: there are several copies of these classes if each entry point is bundled separately or a module
// registry is reset.
const hasCode = (error: unknown, code: string): boolean =>
  isError(error) && (error as { code?: unknown }).code === code;
