import fc from "fast-check";

import type { TaskFailure } from "../../lib/errors";
import { runInNewContext } from "node:vm";
import { decodeFailure, encodeFailure, maxCauseDepth, plainerFailures, reviveError } from "../../lib/value/failure";

/** What a waiter sees of what was thrown. */
const stored = (error: unknown): TaskFailure => decodeFailure(encodeFailure(error));

const throwing = (): never => {
  throw new Error("guarded");
};

class CodedError extends Error {
  override readonly name = "CodedError";
  constructor(
    message: string,
    readonly code: unknown,
    readonly details: unknown,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

function causeDepth(failure: TaskFailure): number {
  return failure.cause === undefined ? 0 : 1 + causeDepth(failure.cause);
}

function expectFailure(failure: TaskFailure, depth = 0): void {
  expect(typeof failure.name).toBe("string");
  expect(failure.name).not.toBe("");
  expect(typeof failure.message).toBe("string");
  expect(["undefined", "string", "number"]).toContain(typeof failure.code);
  expect(depth).toBeLessThanOrEqual(maxCauseDepth);
  if (failure.cause !== undefined) expectFailure(failure.cause, depth + 1);
}

describe("a thrown error", () => {
  it("is stored with its name and message, and without its stack", () => {
    expect(JSON.parse(encodeFailure(new TypeError("no good")))).toEqual({ name: "TypeError", message: "no good" });
  });

  it("is stored with its code, details and cause", () => {
    const error = new CodedError("outer", "E_OUTER", { tries: 3 }, { cause: new CodedError("inner", 42, [1]) });
    expect(stored(error)).toEqual({
      name: "CodedError",
      message: "outer",
      code: "E_OUTER",
      details: { tries: 3 },
      cause: { name: "CodedError", message: "inner", code: 42, details: [1] },
    });
  });

  it.each([NaN, Infinity, true, { a: 1 }, null, 1n, Symbol("s")])("has no code if that is %p", (code) => {
    const text = encodeFailure(new CodedError("m", code, undefined));
    expect(JSON.parse(text)).toEqual({ name: "CodedError", message: "m" });
  });

  it.each([null, 0, "", false, [], {}])("keeps details that are %p", (details) => {
    expect(stored(new CodedError("m", undefined, details))).toEqual({ name: "CodedError", message: "m", details });
  });

  it.each([
    ["a BigInt", 1n],
    ["a BigInt deep inside", { deep: [1n] }],
    ["a function", () => 1],
    ["a symbol", Symbol("s")],
    ["nothing", undefined],
    ["a toJSON that throws", { toJSON: throwing }],
  ])("loses details that JSON cannot hold: %s", (_what, details) => {
    expect(stored(new CodedError("m", "C", details))).toEqual({ name: "CodedError", message: "m", code: "C" });
  });

  it("loses details that contain themselves", () => {
    const details: Record<string, unknown> = {};
    details["self"] = details;
    expect(stored(new CodedError("m", "C", details))).toEqual({ name: "CodedError", message: "m", code: "C" });
  });

  it("is an Error if its name is empty or no string", () => {
    expect(stored({ name: "", message: "m" })).toEqual({ name: "Error", message: "m" });
    expect(stored({ name: 7, message: "m" })).toEqual({ name: "Error", message: "m" });
  });

  it("is stored with five levels of cause", () => {
    let error = new Error("level 9");
    for (let level = 8; level >= 0; level -= 1) error = new Error(`level ${level}`, { cause: error });
    const failure = stored(error);
    expect(causeDepth(failure)).toBe(5);
    expect(failure.cause?.cause?.cause?.cause?.cause?.message).toBe("level 5");
  });

  it("may be its own cause", () => {
    const error = new Error("round and round");
    error.cause = error;
    expect(causeDepth(stored(error))).toBe(maxCauseDepth);
  });

  it.each(["a string", 7, false])("may have as cause what is no error: %p", (cause) => {
    expect(stored(new Error("m", { cause })).cause).toEqual({ name: "Error", message: String(cause) });
  });

  it("has no cause if that is null", () => {
    expect(stored(new Error("m", { cause: null }))).toEqual({ name: "Error", message: "m" });
  });

  it.each(["name", "message", "code", "details", "cause"])("may have a getter that throws: %s", (field) => {
    const error = new CodedError("m", "C", 1, { cause: "c" });
    Object.defineProperty(error, field, { get: throwing });
    expectFailure(stored(error));
    const left = { name: "CodedError", message: "m", code: "C", details: 1, cause: { name: "Error", message: "c" } };
    for (const [key, value] of Object.entries(left))
      if (key !== field && field !== "message") expect(stored(error)).toHaveProperty(key, value);
  });
});

describe("what is thrown and is no error", () => {
  it.each([
    ["a string", "a string"],
    ["", ""],
    [undefined, "undefined"],
    [null, "null"],
    [7, "7"],
    [true, "true"],
    [Symbol("s"), "Symbol(s)"],
    [["a", 1], '["a",1]'],
    [{ reason: "x" }, '{"reason":"x"}'],
    [{ message: 7 }, '{"message":7}'],
  ])("is stored as an Error with its text: %p", (thrown, message) => {
    expect(stored(thrown)).toEqual({ name: "Error", message });
  });

  it("may be an object of no class at all", () => {
    const bare: unknown = Object.assign(Object.create(null), { name: "Bare", message: "m", code: 1 });
    expect(stored(bare)).toEqual({ name: "Bare", message: "m", code: 1 });
  });

  it("may be an object that contains itself, or a BigInt", () => {
    const cyclic: Record<string, unknown> = {};
    cyclic["self"] = cyclic;
    for (const thrown of [cyclic, 1n, { big: 1n }, Object.create(null)]) expectFailure(stored(thrown));
  });

  it("may be a function", () => {
    expect(stored(throwing).message).toContain("guarded");
  });

  it("may be anything at all", () => {
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withNullPrototype: true,
          withSparseArray: true,
        }),
        (thrown) => expectFailure(stored(thrown)),
      ),
    );
  });

  it("may be a proxy that lets nothing be read", () => {
    expectFailure(stored(new Proxy({}, { get: throwing })));
  });

  it("may be a proxy that has been revoked", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expectFailure(stored(proxy));
  });

  it("may have details that can be read only once", () => {
    let reads = 0;
    const details = { toJSON: () => (++reads > 1 ? throwing() : "read") };
    expectFailure(stored(new CodedError("m", "C", details)));
  });
});

describe("text that jsonb cannot hold", () => {
  it("is replaced by U+FFFD, wherever it stands", () => {
    const error = new CodedError("NUL \0, half \ud83d", "C\0", { "k\udc00": ["\0\0"] }, { cause: "\udfff" });
    expect(stored(error)).toEqual({
      name: "CodedError",
      message: "NUL \ufffd, half \ufffd",
      code: "C\ufffd",
      details: { "k\ufffd": ["\ufffd\ufffd"] },
      cause: { name: "Error", message: "\ufffd" },
    });
  });

  it("is not looked for in text that only looks like its escape", () => {
    const message = String.raw`\u0000 \\u0000 \ud800` + "\\";
    expect(stored(new Error(message)).message).toBe(message);
  });

  it("is replaced character by character, and everything else is kept", () => {
    const unit = fc.constantFrom("\\", "u", "0", "d", "8", '"', "\n", "é", "😀", "\0", "\ud83d", "\ude00", "\ufffd");
    fc.assert(
      fc.property(fc.string({ unit }), (message) => {
        const text = encodeFailure(new Error(message));
        expect(decodeFailure(text).message).toBe(message.toWellFormed().replaceAll("\0", "\ufffd"));
        expect(decodeFailure(text).message).toBe((JSON.parse(text) as TaskFailure).message);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("decoding", () => {
  it("accepts any JSON, since writers in other languages fill the column too", () => {
    fc.assert(fc.property(fc.json(), (text) => expectFailure(decodeFailure(text))));
  });

  it("accepts an object with some of the fields, of any type", () => {
    const field = fc.option(fc.jsonValue(), { nil: undefined });
    const shape = fc.record({ name: field, message: field, code: field, details: field, cause: field });
    const nested = fc.tuple(shape, shape).map(([outer, inner]) => ({ ...outer, cause: inner }));
    fc.assert(fc.property(fc.oneof(shape, nested), (value) => expectFailure(decodeFailure(JSON.stringify(value)))));
  });

  it.each([
    ['"text"', { name: "Error", message: "text" }],
    ["null", { name: "Error", message: "null" }],
    ["{}", { name: "Error", message: "{}" }],
    ["[]", { name: "Error", message: "[]" }],
    ['{"message":"m","details":null}', { name: "Error", message: "m", details: null }],
    ['{"message":"m","code":true,"stack":"s"}', { name: "Error", message: "m" }],
  ])("makes a failure of %s", (text, failure) => {
    expect(decodeFailure(text)).toEqual(failure);
  });

  it("cuts off a chain of causes that is longer than one of ours", () => {
    let text = '{"message":"last"}';
    for (let level = 0; level < 50; level += 1) text = `{"message":"m","cause":${text}}`;
    expect(causeDepth(decodeFailure(text))).toBe(maxCauseDepth);
  });

  it("gives again what it was given, once it has been through it", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const once = decodeFailure(text);
        expect(decodeFailure(encodeFailure(once))).toEqual(once);
      }),
    );
  });
});

describe("reviving", () => {
  const failure: TaskFailure = {
    name: "CodedError",
    message: "outer",
    code: "E",
    details: { tries: 3 },
    cause: { name: "TypeError", message: "inner", code: 7 },
  };

  it("makes an error with the name, message, code, details and cause that were stored", () => {
    const error = reviveError(failure);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: "CodedError", message: "outer", code: "E", details: { tries: 3 } });
    expect(error.cause).toBeInstanceOf(Error);
    expect(error.cause).toMatchObject({ name: "TypeError", message: "inner", code: 7 });
    expect((error.cause as Error).cause).toBeUndefined();
  });

  it("adds nothing that was not stored", () => {
    const error = reviveError({ name: "Error", message: "m" });
    expect(Object.keys(error)).toEqual([]);
    expect("cause" in error).toBe(false);
    expect("code" in error).toBe(false);
  });

  it.each([null, 0, "", false])("keeps details that are %p", (details) => {
    expect(reviveError({ name: "Error", message: "m", details })).toHaveProperty("details", details);
  });

  it("shows no stack of the process that reads", () => {
    expect(reviveError(failure).stack).toBe("CodedError: outer");
  });

  it("prints as the error that was thrown would", () => {
    expect(String(reviveError(failure))).toBe("CodedError: outer");
    expect(Object.keys(reviveError(failure))).toEqual(["code", "details"]);
  });

  it("can be stored again with nothing lost", () => {
    expect(stored(reviveError(failure))).toEqual(failure);
  });
});

describe("an error of another realm", () => {
  it("is stored as one of this realm is", () => {
    const error: unknown = runInNewContext(
      'Object.assign(new RangeError("far", { cause: new TypeError("away") }), { code: "E1", details: { at: [1] } })',
    );
    expect(error).not.toBeInstanceOf(Error);
    expect(stored(error)).toEqual({
      name: "RangeError",
      message: "far",
      code: "E1",
      details: { at: [1] },
      cause: { name: "TypeError", message: "away" },
    });
  });
});

describe("a failure that is larger than it may be", () => {
  const maxBytes = 2_000;
  const sizeOf = (text: string): number => Buffer.byteLength(text);

  it("loses its details first, and those of its causes", () => {
    const cause = Object.assign(new TypeError("deep"), { details: "y".repeat(3_000) });
    const error = Object.assign(new Error("m", { cause }), { code: 7, details: { x: 1 } });
    expect(decodeFailure(encodeFailure(error, maxBytes))).toEqual({
      name: "Error",
      message: "m",
      code: 7,
      cause: { name: "TypeError", message: "deep" },
    });
  });

  it.each(["x", "\u0001", "\u20ac", "\ud83d\ude00", '"'])("loses the end of its message, of %j", (character) => {
    const error = Object.assign(new RangeError(`begins ${character.repeat(5_000)}`), { code: "c".repeat(5_000) });
    const text = encodeFailure(error, maxBytes);
    expect(sizeOf(text)).toBeLessThanOrEqual(maxBytes);
    const { name, message, code } = decodeFailure(text);
    expect([name, message.slice(0, 7), message.at(-1), code]).toEqual([
      "RangeError",
      "begins ",
      "\u2026",
      `${"c".repeat(100)}\u2026`,
    ]);
    expect(message.length).toBeGreaterThan(100);
  });

  it("says at least what it is, however little room there is", () => {
    expect(decodeFailure(encodeFailure(new TypeError("short"), 1))).toEqual({ name: "TypeError", message: "short" });
  });

  it("loses the end of its name and code where these leave no room, after its message", () => {
    const labels = { name: "\u0001".repeat(90), code: "\u0002".repeat(90) };
    const text = encodeFailure(Object.assign(new Error("message"), labels), 1_000);
    expect(sizeOf(text)).toBeLessThanOrEqual(1_024);
    expect(decodeFailure(text)).toEqual({
      name: `${labels.name.slice(0, 50)}\u2026`,
      code: `${labels.code.slice(0, 50)}\u2026`,
      message: "\u2026",
    });
  });

  it("is stored although its text, with escapes, would be longer than a string can be", () => {
    const message = "\u0001".repeat(100_000_000);
    expect(sizeOf(encodeFailure(new Error(message), 10_000))).toBeLessThanOrEqual(10_000);
  });
});

describe("plainer texts of a failure", () => {
  it("are in ASCII, with what is not spelled out, and at last without details", () => {
    const error = Object.assign(new Error("5 \u20ac \ud83d \0"), { code: "\u00e9", details: { "\u00fc": "\\u20ac" } });
    const spelledOut = { name: "Error", message: "5 \\u20ac \\ufffd \\ufffd", code: "\\u00e9" };
    expect(plainerFailures(encodeFailure(error)).map(decodeFailure)).toEqual([
      { ...spelledOut, details: { "\\u00fc": "\\u20ac" } },
      spelledOut,
    ]);
    expect(plainerFailures(encodeFailure(new Error("plain")))).toEqual([]);
  });
});
