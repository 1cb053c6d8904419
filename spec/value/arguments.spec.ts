import fc from "fast-check";

import {
  checkDurationMs,
  checkId,
  checkInteger,
  checkTtlMs,
  maxDurationMs,
  maxIdBytes,
  typeName,
} from "../../lib/value/arguments";

/** Any UTF-16 text, often with NUL and halves of surrogate pairs in it. */
const anyText = fc.string({
  unit: fc.oneof(
    fc.constantFrom("\0", "\ud83d", "\ude00", "a", "é", "€", "😀"),
    fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
  ),
  maxLength: 300,
});

describe("an id", () => {
  it.each([
    ["one byte", "a"],
    ["512 bytes of ASCII", "a".repeat(512)],
    ["512 bytes in two-byte characters", "é".repeat(256)],
    ["512 bytes in three-byte characters", `${"€".repeat(170)}aa`],
    ["512 bytes in four-byte characters", "😀".repeat(128)],
    ["control characters other than NUL", "\u0001\n\u007f"],
    ["quotes, backslashes and spaces", `"'\\ \t`],
  ])("may be %s", (_what, id) => {
    expect(() => checkId(id, "taskId")).not.toThrow();
  });

  it.each([
    ["empty", "", "taskId: expected 1 to 512 bytes, got an empty string."],
    ["513 bytes of ASCII", "a".repeat(513), "taskId: expected at most 512 bytes of UTF-8, got 513."],
    ["513 bytes in few characters", `${"€".repeat(170)}aaa`, "taskId: expected at most 512 bytes of UTF-8, got 513."],
    ["513 bytes, the last of them half a pair", `a${"😀".repeat(128)}`, "got 513."],
    ["with NUL", "a\0b", String.raw`taskId: expected text without NUL, got "a\u0000b".`],
    ["a lone high surrogate", "a\ud83d", String.raw`taskId: expected well-formed Unicode, got "a\ud83d".`],
    ["a lone low surrogate", "\ude00a", String.raw`taskId: expected well-formed Unicode, got "\ude00a".`],
    ["a surrogate pair the wrong way round", "\ude00\ud83d", "expected well-formed Unicode"],
  ])("is refused when it is %s", (_what, id, message) => {
    expect(() => checkId(id, "taskId")).toThrow(message);
    expect(() => checkId(id, "taskId")).toThrow(RangeError);
  });

  it.each([
    [undefined, "undefined"],
    [null, "null"],
    [7, "number"],
    [["a"], "an array"],
    [{ id: "a" }, "object"],
    [new String("a"), "object"],
  ])("is refused when it is no string: %p", (id, name) => {
    expect(() => checkId(id, "taskId")).toThrow(`taskId: expected a string, got ${name}.`);
    expect(() => checkId(id, "taskId")).toThrow(TypeError);
  });

  it("is called in the message what the caller calls it", () => {
    expect(() => checkId("", "groupId")).toThrow("groupId: expected 1 to 512 bytes");
  });

  it("is accepted exactly if it has 1 to 512 bytes, no NUL and no lone surrogate", () => {
    fc.assert(
      fc.property(anyText, (id) => {
        const bytes = Buffer.byteLength(id);
        const fits = bytes >= 1 && bytes <= maxIdBytes && !id.includes("\0") && id.isWellFormed();
        expect(accepts(() => checkId(id, "taskId"))).toBe(fits);
      }),
    );
  });
});

describe("a duration", () => {
  it.each([0, 0.5, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 40, maxDurationMs])("may be %p ms", (value) => {
    expect(() => checkDurationMs(value, "timeoutMs")).not.toThrow();
  });

  it.each([-1, -0.001, -Infinity, NaN, Infinity, maxDurationMs + 1, Number.MAX_VALUE])(
    "is refused when it is %p ms",
    (value) => {
      expect(() => checkDurationMs(value, "timeoutMs")).toThrow(`timeoutMs: expected 0 ms or more, got ${value}.`);
      expect(() => checkDurationMs(value, "timeoutMs")).toThrow(RangeError);
    },
  );

  it("may be Infinity only where that is allowed", () => {
    expect(() => checkDurationMs(Infinity, "timeoutMs", { infinite: true })).not.toThrow();
    expect(() => checkDurationMs(Infinity, "timeoutMs", { infinite: false })).toThrow(RangeError);
  });

  it.each([NaN, -Infinity, -1, maxDurationMs + 1])(
    "is refused when it is %p ms, also where Infinity is not",
    (value) => {
      const message = `timeoutMs: expected 0 ms or more, or Infinity, got ${value}.`;
      expect(() => checkDurationMs(value, "timeoutMs", { infinite: true })).toThrow(message);
    },
  );

  it("has a least value where there is one", () => {
    expect(() => checkDurationMs(100, "sweepIntervalMs", { min: 100 })).not.toThrow();
    expect(() => checkDurationMs(99.9, "sweepIntervalMs", { min: 100 })).toThrow(
      "sweepIntervalMs: expected 100 ms or more, got 99.9.",
    );
  });

  it.each([
    [undefined, "undefined"],
    [null, "null"],
    ["1000", "string"],
    [1000n, "bigint"],
    [[1], "an array"],
    [new Date(0), "object"],
  ])("is refused when it is no number: %p", (value, name) => {
    const message = `timeoutMs: expected a number of milliseconds, got ${name}.`;
    expect(() => checkDurationMs(value, "timeoutMs", { infinite: true })).toThrow(message);
    expect(() => checkDurationMs(value, "timeoutMs", { infinite: true })).toThrow(TypeError);
  });

  it("is accepted exactly if it is in its range", () => {
    fc.assert(
      fc.property(fc.double(), fc.boolean(), (value, infinite) => {
        const fits = (value >= 0 && value <= maxDurationMs) || (infinite && value === Infinity);
        expect(accepts(() => checkDurationMs(value, "timeoutMs", { infinite }))).toBe(fits);
      }),
    );
  });
});

describe("a time to live", () => {
  it.each([Number.MIN_VALUE, 0.5, 1, 86_400_000, 2 ** 31, maxDurationMs, Infinity])("may be %p ms", (value) => {
    expect(() => checkTtlMs(value, "ttlMs")).not.toThrow();
  });

  it.each([0, -0, -1, -Infinity, NaN, maxDurationMs + 1, Number.MAX_VALUE])("is refused when it is %p ms", (value) => {
    const message = `ttlMs: expected more than 0 ms, or Infinity for never, got ${value}.`;
    expect(() => checkTtlMs(value, "ttlMs")).toThrow(message);
    expect(() => checkTtlMs(value, "ttlMs")).toThrow(RangeError);
  });

  it.each([
    [undefined, "undefined"],
    [null, "null"],
    ["1000", "string"],
  ])("is refused when it is no number: %p", (value, name) => {
    expect(() => checkTtlMs(value, "ttlMs")).toThrow(`ttlMs: expected a number of milliseconds, got ${name}.`);
    expect(() => checkTtlMs(value, "ttlMs")).toThrow(TypeError);
  });
});

describe("an integer", () => {
  it.each([1, 2, 10])("may be %p where 1 to 10 is asked for", (value) => {
    expect(() => checkInteger(value, "maxRows", 1, 10)).not.toThrow();
  });

  it.each([0, 11, 1.5, -1, NaN, Infinity, -Infinity])("is refused when it is %p and 1 to 10 is asked for", (value) => {
    const message = `maxRows: expected a whole number from 1 to 10, got ${value}.`;
    expect(() => checkInteger(value, "maxRows", 1, 10)).toThrow(message);
    expect(() => checkInteger(value, "maxRows", 1, 10)).toThrow(RangeError);
  });

  it("is at most the largest safe one unless told otherwise", () => {
    expect(() => checkInteger(Number.MAX_SAFE_INTEGER, "maxBytes", 1)).not.toThrow();
    expect(() => checkInteger(Number.MAX_SAFE_INTEGER + 1, "maxBytes", 1)).toThrow(RangeError);
  });

  it.each([
    ["5", "string"],
    [5n, "bigint"],
    [null, "null"],
    [[5], "an array"],
  ])("is refused when it is no number: %p", (value, name) => {
    expect(() => checkInteger(value, "maxRows", 1, 10)).toThrow(`maxRows: expected a number, got ${name}.`);
    expect(() => checkInteger(value, "maxRows", 1, 10)).toThrow(TypeError);
  });
});

it("names what a value is", () => {
  const values = [null, [], {}, undefined, "", 0, 0n, Symbol("s"), typeName];
  const names = ["null", "an array", "object", "undefined", "string", "number", "bigint", "symbol", "function"];
  expect(values.map(typeName)).toEqual(names);
});

function accepts(check: () => void): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}
