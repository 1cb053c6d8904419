import type { PoolConfig } from "pg";
import type { Logger } from "./logger";
import type { Notifier } from "./notifications/notifier";
import { checkDurationMs, checkInteger, checkTtlMs, typeName } from "./value/arguments";
import type { Codec } from "./value/encoding";

/** How many results travel in one statement. */
export interface BatchOptions {
  /** Most rows in one statement. 1 to 10 000; default 1000. */
  readonly maxRows?: number;
  /** Most bytes of JSON in one statement; a result larger than that travels alone. Default 4 MiB. */
  readonly maxBytes?: number;
  /** Most storing statements under way at once, each on a connection of the pool. 1 to 16; default 2. */
  readonly inFlight?: number;
}

/** What to show to OpenTelemetry. */
export interface TelemetryOptions {
  /** Spans of `store`, `fail`, `wait` and `waitSettled`, linked across processes. Default `true`. */
  readonly traces?: boolean;
  /** Default `true`. */
  readonly metrics?: boolean;
}

/** How those who LISTEN are told of what is stored. */
export type NotifyMode = "trigger" | "deferred" | "off";

export interface PostgresResultBackendOptions {
  /** How long a result is kept, in milliseconds. More than 0; `Infinity` never expires. Default 86 400 000, a day. */
  readonly ttlMs?: number;
  /** The schema that holds the tables, made by `migrate` if absent. Default `public`. */
  readonly schema?: string;
  /**
   * Whether, and how, to listen for notifications. `{ connection }` is a direct connection for LISTEN, needed where the pool goes through a
   * transaction pooler. `false` reads on a timer instead, every second. Default `true`: over the pool's own address.
   */
  readonly listen?: boolean | { readonly connection: string | PoolConfig };
  /**
   * Sends notifications over another system instead of LISTEN, such as `nats()` of `kojin-postgres/nats`. All processes must use the same. Nothing listens in
   * Postgres then; of `listen` only `{ connection }` keeps a meaning, that the pool goes through a transaction pooler. Default: LISTEN.
   */
  readonly notifier?: Notifier;
  /**
   * How those who LISTEN are told of what this process stores. `'trigger'`: by the database, in the storing transaction; by the statement that stores, or by a trigger where that cannot.
   * `'deferred'`: by this process, right after the commit, so that commits of many processes do not queue behind one another; a crash in between costs one sweep. `'off'`: not at
   * all; only with `notifier`, of which all who wait have to make use. Default `'trigger'`, with `notifier` `'off'`.
   */
  readonly notify?: NotifyMode;
  /** How often everything that is still waited for is read again while listening, in milliseconds. 100 or more; default 30 000. */
  readonly sweepIntervalMs?: number;
  /** How long a call goes on through transient errors of the database, in milliseconds. 100 or more; default 10 000. */
  readonly retryTimeoutMs?: number;
  /**
   * How stores are batched. At most 100 000 rows and 128 MiB of JSON wait for a statement to take them; beyond that `store` waits for room, within `retryTimeoutMs`.
   */
  readonly batch?: BatchOptions;
  /**
   * Largest result, in bytes of JSON. Default 67 108 864 (64 MiB), a quarter of what jsonb can hold. Reading rejects with a `ResultEncodingError` where the text of a stored result
   * has more than one and a half times as many bytes (jsonb adds spaces), so readers need at least the limit of the writers.
   */
  readonly maxResultBytes?: number;
  /**
   * Largest result, in bytes of JSON, that travels in the notification itself, which saves the waiter a read. Every role that can connect to the
   * database can read notifications and send them, so use it only where all of them are trusted. 0 to 4000; default 0, none.
   */
  readonly inlineResultBytes?: number;
  /** How often this process deletes what has expired, in milliseconds. 1000 or more; default `Infinity`, never by itself. */
  readonly pruneIntervalMs?: number;
  /** Where to say what an operator should know. Default: nowhere. */
  readonly logger?: Logger;
  /**
   * Spans and metrics, by way of the package `@opentelemetry/api`, if that is installed. Set up the SDK before: metrics go to the provider that is global when the
   * backend is made. Default `false`: nothing is loaded, measured or stored for it.
   */
  readonly telemetry?: boolean | TelemetryOptions;
  /** For results that JSON cannot hold, such as dates, maps and big integers. All who store and read have to use the same. Default: JSON alone. */
  readonly codec?: Codec;
}

/** The options with every default filled in. */
export interface ResolvedOptions {
  readonly ttlMs: number;
  readonly schema: string;
  readonly listen: boolean | { readonly connection: string | PoolConfig };
  readonly notifier: Notifier | undefined;
  readonly notify: NotifyMode;
  readonly sweepIntervalMs: number;
  readonly retryTimeoutMs: number;
  readonly batch: Required<BatchOptions>;
  readonly maxResultBytes: number;
  readonly inlineResultBytes: number;
  readonly pruneIntervalMs: number;
  readonly logger: Logger;
  readonly codec: Codec | undefined;
  readonly telemetry: Required<TelemetryOptions>;
}

const silent: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** jsonb holds at most 268 435 455 bytes (`jsonb.h`, JENTRY_OFFLENMASK), in a form that can be larger than the text. */
const defaultMaxResultBytes = 64 * 1024 * 1024;
/** A payload has at most 7999 bytes (PostgreSQL docs, NOTIFY), and escaping can double a text. */
const largestInlineBytes = 4_000;

/** Fills in the defaults; throws a `TypeError` or `RangeError` for what does not fit. */
export function resolveOptions(options: PostgresResultBackendOptions = {}): ResolvedOptions {
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
    logger: options.logger ?? silent,
    codec: options.codec,
    telemetry: resolveTelemetry(options.telemetry),
  };
  checkObject(options.batch, "batch");
  checkNumbers(resolved);
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
  const { traces = true, metrics = true } = telemetry as TelemetryOptions;
  for (const [name, value] of Object.entries({ traces, metrics }))
    if (typeof (value as unknown) !== "boolean")
      throw new TypeError(`telemetry.${name}: expected true or false, got ${typeName(value)}.`);
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
  // Postgres cuts a longer identifier off without an error (docs, "Identifiers and Key Words"), and two schemas would become one.
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
