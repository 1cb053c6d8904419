import fc from "fast-check";

import { ResultEncodingError } from "../../lib/errors";
import { encodeResult, fitsAsJsonb } from "../../lib/value/encoding";
import { decodeFailure, encodeFailure } from "../../lib/value/failure";
import { JsonText } from "../../lib/value/json-text";
import { specDatabase } from "../support/spec-database";

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

/** UTF-16 units close to those that are refused: escapes, parts of escapes, backslashes, whole and half surrogates. */
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

describe("the size of a JSON text as jsonb writes it", () => {
  const database = specDatabase("jsonb text");

  it("is known before it is stored", async () => {
    const digits = fc.stringMatching(/^\d{1,8}$/);
    const number = fc
      .tuple(
        fc.constantFrom("", "-"),
        fc.nat(10_000).map(String),
        fc.option(digits),
        fc.integer({ min: -400, max: 400 }),
      )
      .map(([sign, whole, fraction, power]) => `${sign}${whole}${fraction === null ? "" : `.${fraction}`}e${power}`);
    const word = fc.constantFrom(
      "true",
      "false",
      "null",
      "[]",
      '"1e5"',
      '"\\"1e5,"',
      '"é: 1e9"',
      '"[-7e5000"',
      '"b7e5000,2e9000"',
      '{"a":1e3,\n"b": [ ]}',
    );
    const texts = fc
      .sample(fc.array(fc.oneof(number, word), { minLength: 1, maxLength: 12 }), 300)
      .map((each) => `[1e0,${each.join(" ,")}]`);
    const rows = await database.sql<{ bytes: number }>(
      "select octet_length(text::jsonb::text) as bytes from unnest($1::text[]) with ordinality as t (text, place) order by place",
      [texts],
    );
    const wrong = rows.filter(({ bytes }, index) => {
      const text = texts[index] ?? "";
      return !fitsAsJsonb(text, bytes) || fitsAsJsonb(text, bytes - 1);
    });
    expect(wrong).toEqual([]);
  });

  it.each([
    ["1e308", Array.from({ length: 1_000 }, () => 1e308)],
    ["5e-324", Array.from({ length: 1_000 }, () => 5e-324)],
    ["as written", new JsonText(`[${Array.from({ length: 10 }, () => "1e131071").join()}]`)],
  ])("decides over results: %s", (_name, value) => {
    expect(() => encodeResult("task", value, 100_000)).toThrow(ResultEncodingError);
    expect(encodeResult("task", value, 64 * 1024 * 1024)).toContain("e");
  });

  it("ignores what looks like an exponent in strings", () => {
    expect(fitsAsJsonb('["550e8400-3e99999-1e5","a.1e99999"]', 40)).toBe(true);
    expect(fitsAsJsonb('["a.1e99999",-1.5e99999]', 40)).toBe(false);
    expect(fitsAsJsonb("-1e99999", 40)).toBe(false);
  });

  it("takes time that grows with the text alone", () => {
    const text = `[1e5,${"1".repeat(2_000_000)},"${"2e5".repeat(1_000_000)}"]`;
    const startedAt = performance.now();
    expect(fitsAsJsonb(text, 6_000_000)).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it("takes the details from a failure, and a code that is larger than any", () => {
    const details = Array.from({ length: 1_000 }, () => 1e308);
    const failure = decodeFailure(encodeFailure(Object.assign(new Error("m"), { code: 1e308, details }), 10_000));
    expect(failure).toEqual({ name: "Error", message: "m", code: 1e308 });
    const code = new JsonText("1e131000");
    expect(decodeFailure(encodeFailure(Object.assign(new Error("m"), { code }), 10_000))).toEqual({
      name: "Error",
      message: "m",
    });
  });

  it("is that of members of groups, too, and a number that jsonb refuses concerns its own call", async () => {
    const backend = await database.open({ maxResultBytes: 10_000 });
    const large = Array.from({ length: 1_000 }, () => 1e308);
    await backend.initGroup("group", 1);
    await expect(backend.completeGroupMember("group", "a", large)).rejects.toMatchObject({ taskId: "a" });
    await backend.failGroupMember("group", "a", Object.assign(new Error("m"), { details: large }));
    await expect(backend.waitGroup("group", 0)).rejects.toMatchObject({ failures: [{ taskId: "a" }] });
    const stores = [backend.store("no", new JsonText("1e-20000")), backend.store("yes", 1)];
    expect((await Promise.allSettled(stores)).map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });
});
