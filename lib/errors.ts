import { types } from "node:util";
import type { StandardSchemaV1 } from "@standard-schema/spec";

/** What every error of this package extends: `catch (error) { if (error instanceof ResultBackendError) … }`. */
export abstract class ResultBackendError extends Error {
  /** Equal to the class name, also after minifying and across processes. */
  abstract override readonly name: string;
  /** A constant to switch on. */
  abstract readonly code: string;
}

/** The target of a wait: a task or a group. */
export type WaitTarget = { readonly taskId: string } | { readonly groupId: string };

/** Nothing was stored within the time given to a wait. The task, or the group, may still finish later. */
export class WaitTimeoutError extends ResultBackendError {
  override readonly name = "WaitTimeoutError";
  readonly code = "WAIT_TIMEOUT";
  /** Id of the task, if the wait was for a task. */
  declare readonly taskId?: string;
  /** Id of the group, if the wait was for a group. Exactly one of `taskId` and `groupId` is set. */
  declare readonly groupId?: string;
  constructor(
    target: WaitTarget,
    /** The limit that was given, in milliseconds. */
    readonly timeoutMs: number,
    options?: ErrorOptions & { readonly message?: string },
  ) {
    super(options?.message ?? lateMessage(target, timeoutMs), options);
    if ("taskId" in target) this.taskId = target.taskId;
    else this.groupId = target.groupId;
  }

  /** Creates the error for a group. The message tells how many members had finished when the time was up. */
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

/** A task's own error as it is stored, in the column `error`: plain JSON that any language can write. */
export interface TaskFailure {
  /** The class of the error, such as `TypeError`. */
  readonly name: string;
  readonly message: string;
  /** A machine-readable code, if the error had one. */
  readonly code?: string | number;
  /** Whatever else the task wants to tell, if JSON can hold it. */
  readonly details?: unknown;
  /** What the error names as its own cause, up to five levels. */
  readonly cause?: TaskFailure;
}

/** The task itself failed: somebody called `fail`. `cause` is an `Error` made from what was stored. */
export class TaskFailedError extends ResultBackendError {
  override readonly name = "TaskFailedError";
  readonly code = "TASK_FAILED";
  constructor(
    readonly taskId: string,
    /** What was stored: the name, message, code and details of the task's own error. */
    readonly failure: TaskFailure,
    options?: ErrorOptions,
  ) {
    super(`Task ${taskId} failed: ${failure.name}: ${failure.message}`, options);
  }
}

/** A group is done, and at least one of its members failed. */
export class GroupFailedError extends ResultBackendError {
  override readonly name = "GroupFailedError";
  readonly code = "GROUP_FAILED";
  constructor(
    readonly groupId: string,
    /** One entry for each failed member. */
    readonly failures: readonly TaskFailedError[],
    options?: ErrorOptions,
  ) {
    super(`Group ${groupId} is done, with ${failures.length} failed member(s).`, options);
  }
}

/** What was asked of a group contradicts what is stored of it: another total, or a member that was not declared. */
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

/** `close()` was called: before this call, or while it was waiting. */
export class BackendClosedError extends ResultBackendError {
  override readonly name = "BackendClosedError";
  readonly code = "BACKEND_CLOSED";
  constructor(options?: ErrorOptions) {
    super("The result backend is closed.", options);
  }
}

/**
 * A result that cannot be stored: JSON or jsonb cannot hold it, or it is larger than `maxResultBytes`. Also a stored
 * result that cannot be read, since its text is larger than that: a reader with a smaller `maxResultBytes` than the
 * writer, or a writer of SQL that stored numbers such as `1e131071`.
 */
export class ResultEncodingError extends ResultBackendError {
  override readonly name = "ResultEncodingError";
  readonly code = "RESULT_ENCODING";
  constructor(
    readonly taskId: string,
    /** What stands in the way, as a clause: "a BigInt has no JSON form". */
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`The result of task ${taskId} cannot be stored: ${reason}.`, options);
  }

  /** The error of a result that is too large to be read. */
  static whenRead(taskId: string): ResultEncodingError {
    const reason = "as text it takes more bytes than maxResultBytes of the reader allows";
    const error = new ResultEncodingError(taskId, reason);
    error.message = `The result of task ${taskId} cannot be read: ${reason}.`;
    return error;
  }
}

/**
 * A stored result does not have the form that the reader asked for: its schema, or the codec, does not take it. The
 * result stays as it is.
 */
export class ResultValidationError extends ResultBackendError {
  override readonly name = "ResultValidationError";
  readonly code = "RESULT_VALIDATION";
  constructor(
    readonly taskId: string,
    /** What does not fit, in the words of the schema; at least one. Some schemas repeat the value in them. */
    readonly issues: readonly StandardSchemaV1.Issue[],
    options?: ErrorOptions,
  ) {
    const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : "";
    super(`The result of task ${taskId} has another form than expected: ${describeIssue(issues[0])}${more}.`, options);
  }
}

function describeIssue(issue: StandardSchemaV1.Issue | undefined): string {
  const keys = Array.from(issue?.path ?? [], (part) => String(typeof part === "object" ? part.key : part));
  const message = issue?.message.replace(/\.$/, "") ?? "no reason was given";
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}

/** The tables are not the ones this version works with. The message says what to run. */
export class SchemaError extends ResultBackendError {
  override readonly name = "SchemaError";
  readonly code = "SCHEMA";
  constructor(
    /** The database schema that was looked at. */
    readonly schema: string,
    readonly reason: "missing" | "outdated" | "newer",
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Postgres, or the way to it, failed. `cause` is the driver's error. */
export class DatabaseError extends ResultBackendError {
  override readonly name = "DatabaseError";
  readonly code = "DATABASE";
  /**
   * Where the error came from: before there was a session (`connecting`), from a session that ended or gave no answer
   * (`session`), or from a statement that the server refused while the session goes on (`statement`).
   */
  readonly origin: "connecting" | "session" | "statement";
  constructor(
    message: string,
    /** The SQLSTATE, five characters; undefined when no server answered. */
    readonly sqlState: string | undefined,
    /** Whether the same call may succeed later. Such errors have been retried before they are thrown. */
    readonly transient: boolean,
    options?: ErrorOptions & { readonly origin?: DatabaseError["origin"] },
  ) {
    super(message, options);
    this.origin = options?.origin ?? "session";
  }
}

/**
 * Something that was asked for needs a package that is not installed. The message says which, and how to install it.
 */
export class MissingPackageError extends ResultBackendError {
  override readonly name = "MissingPackageError";
  readonly code = "MISSING_PACKAGE";
  constructor(
    /** The package to install. */
    readonly packageName: string,
    /** What needs it. */
    neededBy: string,
    options?: ErrorOptions,
  ) {
    super(`${neededBy} needs the package ${packageName}: npm install ${packageName}`, options);
  }
}

/**
 * Recognises errors of any realm: those of Node's own modules are not `instanceof` Jest's `Error`, nor are those of a
 * `vm` context.
 */
export const isError = (value: unknown): value is Error => value instanceof Error || types.isNativeError(value);

/** Recognises an `AggregateError` of any realm, such as Node's for a host name with several addresses. */
export const isAggregateError = (value: unknown): value is AggregateError =>
  isError(value) && value.name === "AggregateError" && Array.isArray((value as { errors?: unknown }).errors);

/** Recognises a `WaitTimeoutError` of any copy of this package. */
export const isWaitTimeout = (error: unknown): error is WaitTimeoutError => hasCode(error, "WAIT_TIMEOUT");

/** Recognises a `TaskFailedError` of any copy of this package. */
export const isTaskFailed = (error: unknown): error is TaskFailedError => hasCode(error, "TASK_FAILED");

/** Recognises a `BackendClosedError` of any copy of this package. */
export const isBackendClosed = (error: unknown): error is BackendClosedError => hasCode(error, "BACKEND_CLOSED");

// Not instanceof: bundling each entry point by itself, or resetting a module registry, makes several copies of these
// classes.
const hasCode = (error: unknown, code: string): boolean =>
  isError(error) && (error as { code?: unknown }).code === code;
