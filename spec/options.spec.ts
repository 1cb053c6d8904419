import { type PostgresResultBackendOptions, resolveOptions } from "../lib/options";

/** Options as untyped callers may give them. */
const resolveAny = (options: object): unknown => resolveOptions(options);

describe("defaults", () => {
  it("are those that are documented", () => {
    const { logger, ...options } = resolveOptions();
    expect(options).toEqual({
      ttlMs: 86_400_000,
      schema: "public",
      listen: true,
      notify: "trigger",
      sweepIntervalMs: 30_000,
      retryTimeoutMs: 10_000,
      longStackTraces: false,
      batch: { maxRows: 1_000, maxBytes: 4 * 1024 * 1024, inFlight: 2 },
      maxResultBytes: 67_108_864,
      inlineResultBytes: 0,
      pruneIntervalMs: Infinity,
      codec: undefined,
      telemetry: { traces: false, metrics: false },
    });
    expect(Object.values(logger).map((log) => typeof log)).toEqual(["function", "function", "function"]);
  });

  it("stand for what is given as undefined", () => {
    const options = { ttlMs: undefined, schema: undefined, listen: undefined, batch: undefined, logger: undefined };
    const { logger, ...defaults } = resolveOptions();
    expect(resolveAny(options)).toMatchObject(defaults);
    expect(resolveAny({ batch: { maxRows: undefined } })).toMatchObject({ batch: defaults.batch });
    expect(resolveAny(options)).toHaveProperty("logger", logger);
  });

  it("fill in what is left out of a batch", () => {
    expect(resolveOptions({ batch: { inFlight: 4 } }).batch).toEqual({
      maxRows: 1_000,
      maxBytes: 4 * 1024 * 1024,
      inFlight: 4,
    });
  });

  it("log nothing", () => {
    const written = [process.stdout, process.stderr].map((stream) => jest.spyOn(stream, "write"));
    const { logger } = resolveOptions();
    logger.info("a");
    logger.warn("b");
    logger.error("c");
    for (const write of written) expect(write).not.toHaveBeenCalled();
    jest.restoreAllMocks();
  });
});

describe("an option that fits", () => {
  it.each<PostgresResultBackendOptions>([
    { ttlMs: 1 },
    { ttlMs: 0.5 },
    { ttlMs: Infinity },
    { schema: "x" },
    { schema: "x".repeat(63) },
    { schema: 'My "Quoted" Schémà' },
    { listen: true },
    { listen: false },
    { listen: { connection: "postgres://direct.example/app" } },
    { listen: { connection: { host: "direct.example" } } },
    { notify: "trigger" },
    { notify: "deferred" },
    { sweepIntervalMs: 100 },
    { sweepIntervalMs: Number.MAX_SAFE_INTEGER },
    { retryTimeoutMs: 100 },
    { batch: { maxRows: 1, maxBytes: 1, inFlight: 1 } },
    { batch: { maxRows: 10_000, maxBytes: Number.MAX_SAFE_INTEGER, inFlight: 16 } },
    { maxResultBytes: 1 },
    { inlineResultBytes: 0 },
    { inlineResultBytes: 4_000 },
    { pruneIntervalMs: 1_000 },
    { pruneIntervalMs: Infinity },
  ])("is taken as it is: %j", (options) => {
    expect(resolveOptions(options)).toMatchObject(options);
  });

  it("may ask for all of the telemetry, or for some", () => {
    expect(resolveOptions({ telemetry: true }).telemetry).toEqual({ traces: true, metrics: true });
    expect(resolveOptions({ telemetry: {} }).telemetry).toEqual({ traces: true, metrics: true });
    expect(resolveOptions({ telemetry: { metrics: false } }).telemetry).toEqual({ traces: true, metrics: false });
  });

  it("may be any logger with the three methods", () => {
    expect(resolveOptions({ logger: console }).logger).toBe(console);
  });
});

describe("an option of the wrong type", () => {
  it.each([
    [{ ttlMs: "1000" }, "ttlMs: expected a number of milliseconds, got string."],
    [{ schema: 7 }, "schema: expected a string, got number."],
    [{ schema: ["app"] }, "schema: expected a string, got an array."],
    [{ listen: "yes" }, "listen: expected true, false or { connection }, got string."],
    [{ listen: 0 }, "listen: expected true, false or { connection }, got number."],
    [{ listen: {} }, "listen: expected true, false or { connection }, got object."],
    [{ listen: { connection: 7 } }, "listen: expected true, false or { connection }, got object."],
    [{ listen: { connection: null } }, "listen: expected true, false or { connection }, got object."],
    [{ listen: { connection: undefined } }, "listen: expected true, false or { connection }, got object."],
    [{ notify: true }, "notify: expected 'trigger', 'deferred' or 'off', got true."],
    [{ notify: "never" }, "notify: expected 'trigger', 'deferred' or 'off', got never."],
    [{ sweepIntervalMs: "30s" }, "sweepIntervalMs: expected a number of milliseconds, got string."],
    [{ retryTimeoutMs: 10n }, "retryTimeoutMs: expected a number of milliseconds, got bigint."],
    [{ pruneIntervalMs: true }, "pruneIntervalMs: expected a number of milliseconds, got boolean."],
    [{ batch: { maxRows: "5" } }, "batch.maxRows: expected a number, got string."],
    [{ batch: { maxBytes: {} } }, "batch.maxBytes: expected a number, got object."],
    [{ batch: { inFlight: [2] } }, "batch.inFlight: expected a number, got an array."],
    [{ maxResultBytes: "64 MiB" }, "maxResultBytes: expected a number, got string."],
    [{ inlineResultBytes: true }, "inlineResultBytes: expected a number, got boolean."],
    [{ telemetry: 1 }, "telemetry: expected true, false or { traces, metrics }, got number."],
    [{ telemetry: null }, "telemetry: expected true, false or { traces, metrics }, got null."],
    [{ telemetry: { traces: "yes" } }, "telemetry.traces: expected true or false, got string."],
    [{ codec: { encode: () => 1 } }, "codec.decode: expected a function, got undefined."],
    [{ ttl: 1_000 }, "ttl: unknown option. The most similar one is ttlMs."],
    [{ sweepInterval: undefined }, "sweepInterval: unknown option. The most similar one is sweepIntervalMs."],
    [{ batch: { rows: 5 } }, "batch.rows: unknown option. The most similar one is batch.maxRows."],
    [{ batch: null }, "batch: expected an object, got null."],
    [{ telemetry: { trace: true } }, "telemetry.trace: unknown option. The most similar one is telemetry.traces."],
  ])("throws a TypeError: %p", (options, message) => {
    expect(() => resolveAny(options)).toThrow(message);
    expect(() => resolveAny(options)).toThrow(TypeError);
  });

  it.each([
    { logger: {} },
    { logger: "console" },
    { logger: { info: () => undefined, warn: () => undefined } },
    { batch: 5 },
  ])("throws a TypeError instead of failing later, or not at all: %p", (options) => {
    expect(() => resolveAny(options)).toThrow(TypeError);
  });
});

describe("an option out of its range", () => {
  it.each([
    [{ ttlMs: 0 }, "ttlMs: expected more than 0 ms, or Infinity for never, got 0."],
    [{ ttlMs: -1 }, "ttlMs: expected more than 0 ms, or Infinity for never, got -1."],
    [{ ttlMs: NaN }, "ttlMs: expected more than 0 ms, or Infinity for never, got NaN."],
    [{ schema: "" }, 'schema: expected a name of 1 to 63 bytes without NUL, got "".'],
    [{ schema: "x".repeat(64) }, "schema: expected a name of 1 to 63 bytes without NUL, got"],
    [{ schema: "é".repeat(32) }, "schema: expected a name of 1 to 63 bytes without NUL, got"],
    [{ schema: "a\0b" }, String.raw`schema: expected a name of 1 to 63 bytes without NUL, got "a\u0000b".`],
    [{ schema: "\ud800" }, String.raw`schema: expected a name of 1 to 63 bytes without NUL, got "\ud800".`],
    [{ sweepIntervalMs: 99 }, "sweepIntervalMs: expected 100 ms or more, got 99."],
    [{ sweepIntervalMs: Infinity }, "sweepIntervalMs: expected 100 ms or more, got Infinity."],
    [{ retryTimeoutMs: 99 }, "retryTimeoutMs: expected 100 ms or more, got 99."],
    [{ retryTimeoutMs: Infinity }, "retryTimeoutMs: expected 100 ms or more, got Infinity."],
    [{ pruneIntervalMs: 999 }, "pruneIntervalMs: expected 1000 ms or more, or Infinity, got 999."],
    [{ pruneIntervalMs: NaN }, "pruneIntervalMs: expected 1000 ms or more, or Infinity, got NaN."],
    [{ batch: { maxRows: 0 } }, "batch.maxRows: expected a whole number from 1 to 10000, got 0."],
    [{ batch: { maxRows: 10_001 } }, "batch.maxRows: expected a whole number from 1 to 10000, got 10001."],
    [{ batch: { maxRows: 1.5 } }, "batch.maxRows: expected a whole number from 1 to 10000, got 1.5."],
    [{ batch: { maxBytes: 0 } }, "batch.maxBytes: expected a whole number from 1 to 9007199254740991, got 0."],
    [{ batch: { inFlight: 0 } }, "batch.inFlight: expected a whole number from 1 to 16, got 0."],
    [{ batch: { inFlight: 17 } }, "batch.inFlight: expected a whole number from 1 to 16, got 17."],
    [{ maxResultBytes: 0 }, "maxResultBytes: expected a whole number from 1 to 9007199254740991, got 0."],
    [{ inlineResultBytes: -1 }, "inlineResultBytes: expected a whole number from 0 to 4000, got -1."],
    [{ inlineResultBytes: 4_001 }, "inlineResultBytes: expected a whole number from 0 to 4000, got 4001."],
  ])("throws a RangeError: %p", (options, message) => {
    expect(() => resolveAny(options)).toThrow(message);
    expect(() => resolveAny(options)).toThrow(RangeError);
  });
});
