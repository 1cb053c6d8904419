import type { PoolConfig } from "pg";
import type { Logger } from "./logger";
import type { Notifier } from "./notifications/notifier";
import { checkDurationMs, checkInteger, checkOptions, checkTtlMs, type OptionNames, typeName } from "./value/arguments";
import type { Codec } from "./value/encoding";

/** Limits of the batches in which results are stored. */
export interface BatchOptions {
  /** Most rows in one statement. 1 to 10 000; default 1000. */
  readonly maxRows?: number;
  /** Most bytes of JSON in one statement; a larger result is sent by itself. Default 4 MiB. */
  readonly maxBytes?: number;
  /** Most storing statements in flight, each on a connection of the pool. 1 to 16; default 2. */
  readonly inFlight?: number;
}

/** Signals for OpenTelemetry. */
export interface TelemetryOptions {
  /** Spans of `store`, `fail`, `wait` and `waitSettled`, linked across processes. Default `true`. */
  readonly traces?: boolean;
  /** Default `true`. */
  readonly metrics?: boolean;
}

/** Ways to send Postgres notifications; see `notify`. */
export type NotifyMode = "trigger" | "deferred" | "off";

export interface PostgresResultBackendOptions {
  /** Time to live of a result, in milliseconds. More than 0; `Infinity` never expires. Default 86 400 000, a day. */
  readonly ttlMs?: number;
  /** Schema of the tables, created by `migrate` if absent. Default `public`. */
  readonly schema?: string;
  /**
   * `true` listens on a connection to the pool's own address. `{ connection }` listens on a direct connection, which is
   * required if the pool connects through a transaction pooler. `false` does not listen, and reads every second
   * instead. Default `true`.
   */
  readonly listen?: boolean | { readonly connection: string | PoolConfig };
  /**
   * Carries notifications over another system instead of LISTEN, such as `nats()` of `kojin-postgres/nats`. All
   * processes must use the same one. `listen: { connection }` then only says that the pool connects through a
   * transaction pooler. Default: LISTEN.
   */
  readonly notifier?: Notifier;
  /**
   * When Postgres notifications are sent. `'trigger'`: within the storing transaction. `'deferred'`: right
   * behind the commit, on the same connection, so that the commits of many processes do not queue behind one another.
   * If the server crashes in between, a sweep finds the result; likewise if the process crashes and its pool does not
   * pipeline (`pipeline: true` of `pg`). `'off'`: never, which requires a `notifier` that all waiting
   * processes use. Default `'trigger'`, or `'off'` with a `notifier`.
   */
  readonly notify?: NotifyMode;
  /** Interval at which all pending ids are read again while listening, in milliseconds. 100 or more; default 30 000. */
  readonly sweepIntervalMs?: number;
  /** Time for which a call retries after transient database errors, in milliseconds. 100 or more; default 10 000. */
  readonly retryTimeoutMs?: number;
  /**
   * Batches of stores. At most 100 000 rows and 128 MiB of JSON are queued; beyond that, `store` waits for space, for
   * up to `retryTimeoutMs`.
   */
  readonly batch?: BatchOptions;
  /**
   * Largest result, in bytes of JSON. Default 67 108 864 (64 MiB), a quarter of what jsonb can hold. Reads reject with
   * a `ResultEncodingError` if the stored text is more than one and a half times as long (jsonb adds spaces), so give
   * readers at least the limit of the writers.
   */
  readonly maxResultBytes?: number;
  /**
   * Largest result, in bytes of JSON, that is sent inside its notification, which saves the waiter a read. Any role
   * that can connect to the database can read and send notifications, so use this only if you trust all of them. 0 to
   * 4000; default 0, none.
   */
  readonly inlineResultBytes?: number;
  /** Interval at which this process deletes expired rows, in milliseconds. 1000 or more; default `Infinity`, never. */
  readonly pruneIntervalMs?: number;
  /** Receives messages for operators. Default: none. */
  readonly logger?: Logger;
  /**
   * Spans and metrics through the package `@opentelemetry/api`, if it is installed. Set up the SDK first: metrics go to
   * the provider that is global when the backend is created. Default `false`: the package is not even loaded.
   */
  readonly telemetry?: boolean | TelemetryOptions;
  /**
   * Converts results that JSON cannot hold, such as dates, maps and big integers. All writers and readers must use the
   * same codec. Default: plain JSON.
   */
  readonly codec?: Codec;
  /**
   * Gives errors that a deadline produces the stack of the call, so that they show the line that waited: the
   * `WaitTimeoutError` of a wait, and the `DatabaseError` of a read or write that was not answered in time. Default
   * `false`: a timer creates such an error, and its stack shows the timer.
   */
  readonly longStackTraces?: boolean;
}

/** Options with every default filled in. */
export interface ResolvedOptions extends Required<Omit<PostgresResultBackendOptions, "notifier" | "codec">> {
  readonly notifier: Notifier | undefined;
  readonly codec: Codec | undefined;
  readonly batch: Required<BatchOptions>;
  readonly telemetry: Required<TelemetryOptions>;
}

const noLogger: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** jsonb holds at most 268 435 455 bytes (`jsonb.h`, JENTRY_OFFLENMASK), in a form that can be larger than the text. */
const defaultMaxResultBytes = 64 * 1024 * 1024;
/** A payload has at most 7999 bytes (PostgreSQL docs, NOTIFY), and escaping can double a text. */
const largestInlineBytes = 4_000;

const backendNames: OptionNames<PostgresResultBackendOptions> = {
  ttlMs: true,
  schema: true,
  listen: true,
  notifier: true,
  notify: true,
  sweepIntervalMs: true,
  retryTimeoutMs: true,
  batch: true,
  maxResultBytes: true,
  inlineResultBytes: true,
  pruneIntervalMs: true,
  logger: true,
  telemetry: true,
  codec: true,
  longStackTraces: true,
};
const batchNames: OptionNames<BatchOptions> = { maxRows: true, maxBytes: true, inFlight: true };
const telemetryNames: OptionNames<TelemetryOptions> = { traces: true, metrics: true };

/** Fills in the defaults; throws a `TypeError` or `RangeError` for an invalid option. */
export function resolveOptions(options: PostgresResultBackendOptions = {}): ResolvedOptions {
  checkOptions(options, backendNames);
  checkObject(options.batch, "batch");
  checkOptions(options.batch ?? {}, batchNames, "batch.");
  const resolved: ResolvedOptions = {
    ttlMs: options.ttlMs ?? 86_400_000,
    schema: options.schema ?? "public",
    listen: options.listen ?? true,
    notifier: options.notifier,
    notify: options.notify ?? (options.notifier === undefined ? "trigger" : "off"),
    sweepIntervalMs: options.sweepIntervalMs ?? 30_000,
    retryTimeoutMs: options.retryTimeoutMs ?? 10_000,
    batch: {
      maxRows: options.batch?.maxRows ?? 1_000,
      maxBytes: options.batch?.maxBytes ?? 4 * 1024 * 1024,
      inFlight: options.batch?.inFlight ?? 2,
    },
    maxResultBytes: options.maxResultBytes ?? defaultMaxResultBytes,
    inlineResultBytes: options.inlineResultBytes ?? 0,
    pruneIntervalMs: options.pruneIntervalMs ?? Infinity,
    logger: options.logger ?? noLogger,
    codec: options.codec,
    longStackTraces: options.longStackTraces ?? false,
    telemetry: resolveTelemetry(options.telemetry),
  };
  checkNumbers(resolved);
  checkBoolean(resolved.longStackTraces, "longStackTraces");
  checkMethods(resolved.logger, "logger", ["info", "warn", "error"]);
  if (resolved.codec !== undefined) checkMethods(resolved.codec, "codec", ["encode", "decode"]);
  checkSchemaName(resolved.schema);
  checkListen(resolved.listen);
  if (resolved.notifier !== undefined) checkMethods(resolved.notifier, "notifier", ["open"]);
  checkNotify(resolved.notify, resolved.notifier !== undefined);
  return resolved;
}

function resolveTelemetry(telemetry: unknown = false): Required<TelemetryOptions> {
  if (typeof telemetry === "boolean") return { traces: telemetry, metrics: telemetry };
  if (typeof telemetry !== "object" || telemetry === null)
    throw new TypeError(`telemetry: expected true, false or { traces, metrics }, got ${typeName(telemetry)}.`);
  checkOptions(telemetry, telemetryNames, "telemetry.");
  const { traces = true, metrics = true } = telemetry as TelemetryOptions;
  for (const [name, value] of Object.entries({ traces, metrics })) checkBoolean(value, `telemetry.${name}`);
  return { traces, metrics };
}

function checkNumbers(options: ResolvedOptions): void {
  checkTtlMs(options.ttlMs, "ttlMs");
  checkDurationMs(options.sweepIntervalMs, "sweepIntervalMs", { min: 100 });
  checkDurationMs(options.retryTimeoutMs, "retryTimeoutMs", { min: 100 });
  checkDurationMs(options.pruneIntervalMs, "pruneIntervalMs", { min: 1_000, infinite: true });
  checkInteger(options.batch.maxRows, "batch.maxRows", 1, 10_000);
  checkInteger(options.batch.maxBytes, "batch.maxBytes", 1);
  checkInteger(options.batch.inFlight, "batch.inFlight", 1, 16);
  checkInteger(options.maxResultBytes, "maxResultBytes", 1);
  checkInteger(options.inlineResultBytes, "inlineResultBytes", 0, largestInlineBytes);
}

function checkBoolean(value: unknown, what: string): void {
  if (typeof value !== "boolean") throw new TypeError(`${what}: expected true or false, got ${typeName(value)}.`);
}

function checkObject(value: unknown, what: string): void {
  if (value !== undefined && (typeof value !== "object" || value === null))
    throw new TypeError(`${what}: expected an object, got ${typeName(value)}.`);
}

function checkMethods(value: unknown, what: string, names: readonly string[]): void {
  checkObject(value, what);
  for (const name of names) {
    const method = (value as Record<string, unknown>)[name];
    if (typeof method !== "function")
      throw new TypeError(`${what}.${name}: expected a function, got ${typeName(method)}.`);
  }
}

/** Throws unless `schema` can be the name of a schema. */
export function checkSchemaName(schema: unknown): asserts schema is string {
  if (typeof schema !== "string") throw new TypeError(`schema: expected a string, got ${typeName(schema)}.`);
  // Postgres truncates longer identifiers without an error (docs, "Identifiers and Key Words"), so two schemas could
  // become one.
  const bytes = Buffer.byteLength(schema);
  if (bytes < 1 || bytes > 63 || schema.includes("\0") || !schema.isWellFormed()) {
    throw new RangeError(`schema: expected a name of 1 to 63 bytes without NUL, got ${JSON.stringify(schema)}.`);
  }
}

function checkListen(listen: unknown): void {
  if (typeof listen === "boolean") return;
  const connection =
    typeof listen === "object" && listen !== null && "connection" in listen ? listen.connection : undefined;
  if (typeof connection !== "string" && (typeof connection !== "object" || connection === null)) {
    throw new TypeError(`listen: expected true, false or { connection }, got ${typeName(listen)}.`);
  }
}

function checkNotify(notify: unknown, hasNotifier: boolean): void {
  if (notify !== "trigger" && notify !== "deferred" && notify !== "off")
    throw new TypeError(`notify: expected 'trigger', 'deferred' or 'off', got ${String(notify)}.`);
  if (notify === "off" && !hasNotifier)
    throw new RangeError(
      "notify: expected 'trigger' or 'deferred' without a notifier, got off: no notification would be sent.",
    );
}
