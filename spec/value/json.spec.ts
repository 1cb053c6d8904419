import fc from "fast-check";

import { ResultEncodingError } from "../../lib/errors";
import { encodeResult, jsonText } from "../../lib/value/json";

const maxBytes = 1_000_000;
const encode = (result: unknown, limit = maxBytes): string => encodeResult("task-1", result, limit);

function refusal(result: unknown, limit = maxBytes): ResultEncodingError {
  try {
    encode(result, limit);
  } catch (error) {
    if (error instanceof ResultEncodingError) return error;
    throw error;
  }
  throw new Error("It was encoded.");
}

/** UTF-16 units that come close to what is refused: escapes, parts of escapes, backslashes, surrogates whole and halved. */
const anyUnit = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("\\", "u", "0", "d", "8", '"', "\n", "\u0001", "\u007f", "é", "😀") },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 0xd7ff }).map((unit) => String.fromCharCode(unit)) },
  { weight: 1, arbitrary: fc.constantFrom("\0", "\ud800", "\udbff", "\udc00", "\udfff") },
);

function isStorable(value: unknown): boolean {
  if (typeof value === "string") return !value.includes("\0") && value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).flat().every(isStorable);
}

describe("what JSON can hold", () => {
  it.each([
    [undefined, "null"],
    [null, "null"],
    [true, "true"],
    [0, "0"],
    [-0, "0"],
    [1e308, "1e+308"],
    [NaN, "null"],
    [Infinity, "null"],
    ["", '""'],
    ["é😀", '"é😀"'],
    [[], "[]"],
    [{}, "{}"],
    [[undefined, () => 1, Symbol("s")], "[null,null,null]"],
    [{ kept: 1, left: undefined, out: () => 1 }, '{"kept":1}'],
    [new Date(0), '"1970-01-01T00:00:00.000Z"'],
    [new Map([[1, 2]]), "{}"],
  ])("is encoded: %p", (result, text) => {
    expect(encode(result)).toBe(text);
  });

  it("is what toJSON gives", () => {
    expect(encode({ toJSON: (key: string) => ({ key }) })).toBe('{"key":""}');
  });

  it.each([
    ["NUL", String.raw`\u0000`],
    ["a surrogate", String.raw`\ud800`],
    ["NUL after a backslash", String.raw`\\u0000`],
    ["a surrogate between letters", String.raw`a\udfffb`],
  ])("may be text that only looks like the escape of %s", (_what, text) => {
    expect(JSON.parse(encode(text))).toBe(text);
    expect(JSON.parse(encode({ [text]: [text] }))).toEqual({ [text]: [text] });
  });

  it.each([String.fromCharCode(1), "\u001f", "\u007f", "\u2028", "\ud83d\ude00", "\ufffe", "\uffff"])(
    "may have the character %j",
    (text) => {
      expect(JSON.parse(encode(text))).toBe(text);
    },
  );

  it("comes back equal, and is refused exactly if some text in it has NUL or a lone surrogate", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: anyUnit }), (value) => {
        if (isStorable(value)) expect(JSON.parse(encode(value))).toEqual(JSON.parse(JSON.stringify(value)));
        else expect(() => encode(value)).toThrow(ResultEncodingError);
      }),
      { numRuns: 1_000 },
    );
  });

  it("is refused for one text exactly if it has NUL or a lone surrogate", () => {
    fc.assert(
      fc.property(fc.string({ unit: anyUnit }), (text) => {
        if (isStorable(text)) expect(JSON.parse(encode(text))).toBe(text);
        else expect(() => encode(text)).toThrow(ResultEncodingError);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("what cannot be stored", () => {
  it.each([
    ["a BigInt", 1n, /bigint/i],
    ["a BigInt deep inside", { a: [{ b: 1n }] }, /bigint/i],
    ["a function", () => 1, /^a function has no JSON form$/],
    ["a symbol", Symbol("s"), /^a symbol has no JSON form$/],
    ["what toJSON gives as undefined", { toJSON: () => undefined }, /has no JSON form$/],
    ["NUL", "a\0b", /^jsonb cannot hold the character \\u0000 in a string$/],
    ["NUL after a backslash", "\\\0", /\\u0000/],
    ["NUL after text that looks like its escape", String.raw`\u0000` + "\0", /\\u0000/],
    ["NUL in a key", { "\0": 1 }, /\\u0000/],
    ["a high surrogate alone", "\ud800", /\\ud800/],
    ["a high surrogate before a letter", "\udbffa", /\\udbff/],
    ["a low surrogate alone", "\udfff", /\\udfff/],
    ["a lone surrogate in a key", { nested: [{ "\udc00": 1 }] }, /\\udc00/],
  ])("is refused: %s", (_what, result, reason) => {
    expect(refusal(result)).toMatchObject({ taskId: "task-1", code: "RESULT_ENCODING" });
    expect(refusal(result).reason).toMatch(reason);
  });

  it("is refused for a cycle, in one line, with the error of the runtime as cause", () => {
    const cyclic: Record<string, unknown> = {};
    cyclic["self"] = { cyclic };
    const error = refusal(cyclic);
    expect(error.reason).toMatch(/^converting circular structure to JSON$/);
    expect(error.cause).toBeInstanceOf(TypeError);
  });

  it("is refused when toJSON throws, with what it threw as cause", () => {
    const thrown = new Error("Not today\nand not tomorrow");
    const throwing = {
      toJSON: () => {
        throw thrown;
      },
    };
    expect(refusal(throwing)).toMatchObject({ reason: "not today", cause: thrown });
  });

  it("is refused when toJSON throws what is no error", () => {
    const throwing = {
      toJSON: () => {
        // eslint-disable-next-line @typescript-eslint/only-throw-error -- as careless code does
        throw "a string";
      },
    };
    expect(refusal(throwing)).toMatchObject({ reason: "it has no JSON form", cause: "a string" });
  });

  it("is named in a message that says what happened, and to which task", () => {
    expect(refusal(Symbol("s")).message).toBe("The result of task task-1 cannot be stored: a symbol has no JSON form.");
  });
});

describe("the limit on bytes", () => {
  it.each([
    ["ASCII", "aaaa", 6],
    ["two-byte characters", "éé", 6],
    ["three-byte characters", "€€", 8],
    ["four-byte characters", "😀😀", 10],
    ["escaped characters", "\n\u0001", 10],
  ])("counts UTF-8, quotes and escapes, of %s", (_what, text, bytes) => {
    expect(encode(text, bytes)).toBe(JSON.stringify(text));
    expect(refusal(text, bytes - 1).reason).toBe(`it takes ${bytes} bytes, more than maxResultBytes (${bytes - 1})`);
  });

  it("holds for the null that undefined becomes", () => {
    expect(encode(undefined, 4)).toBe("null");
    expect(refusal(undefined, 3).reason).toContain("4 bytes");
  });

  it("is exact for any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: -2, max: 2 }), (text, difference) => {
        const bytes = Buffer.byteLength(JSON.stringify(text));
        if (difference >= 0) expect(encode(text, bytes + difference)).toBe(JSON.stringify(text));
        else expect(() => encode(text, bytes + difference)).toThrow(ResultEncodingError);
      }),
    );
  });
});

it("gives no text for what has none", () => {
  expect([() => 1, Symbol("s"), undefined].map(jsonText)).toEqual([undefined, undefined, undefined]);
});
