import type {
  ClaimOptions,
  CloseOptions,
  ReadOptions,
  ResultFeedOptions,
  SqlClient,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
import { checkDurationMs, checkOptions, type OptionNames, typeName } from "./value/arguments";
import { checkSchema, type ResultSchema } from "./value/decoding";

// Checks of options that several calls share, for every backend.

const readNames: OptionNames<ReadOptions> = { schema: true };
const waitNames: OptionNames<WaitOptions & ReadOptions> = { timeoutMs: true, signal: true, schema: true };
const feedNames: OptionNames<ResultFeedOptions> = { where: true, schema: true };
const writeNames: OptionNames<WriteOptions> = { client: true };
const claimNames: OptionNames<ClaimOptions> = { client: true, leaseMs: true };
const closeNames: OptionNames<CloseOptions> = { drainMs: true };

/** Checks the options of a call that reads. */
export function toSchema<T>(options: ReadOptions<T> = {}): ResultSchema<T> | undefined {
  checkOptions(options, readNames);
  checkSchema(options.schema);
  return options.schema;
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

/** Checks the timeout or the options of a wait. */
export function toWaitOptions<T>(timeout: number | (WaitOptions & ReadOptions<T>)): WaitOptions & ReadOptions<T> {
  const options: WaitOptions & ReadOptions<T> = isWaitOptions(timeout) ? timeout : { timeoutMs: timeout };
  if (options === timeout) checkOptions(options, waitNames);
  checkDurationMs(options.timeoutMs, "timeoutMs", { infinite: true });
  checkSignal(options.signal);
  checkSchema(options.schema);
  return options;
}

const isWaitOptions = <T>(timeout: number | T): timeout is T => typeof timeout === "object" && timeout !== null;

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
