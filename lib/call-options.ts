import type {
  ClaimOptions,
  CloseOptions,
  ExpectOptions,
  ReadOptions,
  ResultFeedOptions,
  SqlClient,
  TaskReadOptions,
  TaskWaitOptions,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
import { checkDurationMs, checkOptions, checkTtlMs, type OptionNames, typeName } from "./value/arguments";
import { checkSchema, type ResultSchema } from "./value/decoding";

// Checks of options that several calls share, for every backend.

const readNames: OptionNames<ReadOptions> = { schema: true };
const waitNames: OptionNames<WaitOptions & ReadOptions> = { timeoutMs: true, signal: true, schema: true };
const taskReadNames: OptionNames<TaskReadOptions> = { ...readNames, mustExist: true };
const taskWaitNames: OptionNames<TaskWaitOptions> = { ...waitNames, mustExist: true };
const feedNames: OptionNames<ResultFeedOptions> = { where: true, schema: true };
const writeNames: OptionNames<WriteOptions> = { client: true };
const expectNames: OptionNames<ExpectOptions> = { client: true, ttlMs: true };
const claimNames: OptionNames<ClaimOptions> = { client: true, leaseMs: true };
const closeNames: OptionNames<CloseOptions> = { drainMs: true };

/** Checks the options of a call that reads. */
export function toSchema<T>(options: ReadOptions<T> = {}): ResultSchema<T> | undefined {
  checkOptions(options, readNames);
  checkSchema(options.schema);
  return options.schema;
}

/** Checks the options of a call that reads one task. */
export function toTaskReadOptions<T>(options: TaskReadOptions<T> = {}): TaskReadOptions<T> {
  checkOptions(options, taskReadNames);
  checkSchema(options.schema);
  checkMustExist(options.mustExist);
  return options;
}

/** Checks the options of `results$`. */
export function toFeedOptions<T>(options: ResultFeedOptions<T> = {}): ResultFeedOptions<T> & {
  readonly where: (taskId: string) => boolean;
} {
  checkOptions(options, feedNames);
  const { where = () => true, schema } = options;
  if (typeof where !== "function") throw new TypeError(`where: expected a function, got ${typeName(where)}.`);
  checkSchema(schema);
  return { where, ...(schema === undefined ? {} : { schema }) };
}

/** Checks the options of a call that writes. */
export function toClient(options: WriteOptions = {}): SqlClient | undefined {
  checkOptions(options, writeNames);
  return options.client;
}

/** Checks the options of `expect`. */
export function toExpectOptions(
  options: ExpectOptions | undefined,
  defaultTtlMs: number,
): ExpectOptions & { readonly ttlMs: number } {
  if (options === undefined) return { ttlMs: defaultTtlMs };
  checkOptions(options, expectNames);
  const { ttlMs = defaultTtlMs } = options;
  checkTtlMs(ttlMs, "ttlMs");
  return { ...options, ttlMs };
}

/** Checks the options of `claimGroup`. */
export function toClaimOptions(options: ClaimOptions = {}): ClaimOptions {
  checkOptions(options, claimNames);
  if (options.leaseMs !== undefined) checkDurationMs(options.leaseMs, "leaseMs", { min: 1 });
  return options;
}

/** Checks the options of `close`. */
export function toDrainMs(options: CloseOptions = {}): number {
  checkOptions(options, closeNames);
  const { drainMs = 0 } = options;
  checkDurationMs(drainMs, "drainMs");
  return drainMs;
}

/** Checks the timeout or the options of a wait for a group. */
export function toWaitOptions<T>(timeout: number | (WaitOptions & ReadOptions<T>)): WaitOptions & ReadOptions<T> {
  return checkedWait<WaitOptions & ReadOptions<T>>(timeout, waitNames);
}

/** Checks the timeout or the options of a wait for a task. */
export function toTaskWaitOptions<T>(timeout: number | TaskWaitOptions<T>): TaskWaitOptions<T> {
  const options = checkedWait<TaskWaitOptions<T>>(timeout, taskWaitNames);
  checkMustExist(options.mustExist);
  return options;
}

function checkedWait<Options extends WaitOptions & ReadOptions>(
  timeout: number | Options,
  names: OptionNames<Options>,
): Options {
  const options = isWaitOptions(timeout) ? timeout : ({ timeoutMs: timeout } as Options);
  if (options === timeout) checkOptions(options, names);
  checkDurationMs(options.timeoutMs, "timeoutMs", { infinite: true });
  checkSignal(options.signal);
  checkSchema(options.schema);
  return options;
}

const isWaitOptions = <T>(timeout: number | T): timeout is T => typeof timeout === "object" && timeout !== null;

function checkMustExist(mustExist: unknown): void {
  if (mustExist !== undefined && typeof mustExist !== "boolean")
    throw new TypeError(`mustExist: expected true or false, got ${typeName(mustExist)}.`);
}

/**
 * Throws unless `signal` is left out or works as an `AbortSignal`. Not `instanceof`: jsdom, polyfills, and other realms
 * such as that of Jest have classes of their own.
 */
function checkSignal(signal: unknown): void {
  if (signal === undefined || isSignal(signal)) return;
  throw new TypeError(`signal: expected an AbortSignal, got ${typeName(signal)}.`);
}

function isSignal(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
  return (
    typeof aborted === "boolean" && typeof addEventListener === "function" && typeof removeEventListener === "function"
  );
}
