import * as fc from "fast-check";
import { JsonText, layOut, parseExactly, stringifyExactly } from "../../lib/value/json-text";

const big = "1970670598291982290";

describe("stringifyExactly", () => {
  it("writes JSON text as it is, wherever it stands", () => {
    const value = { id: new JsonText(big), list: [new JsonText('{"a": 1.0}'), 2], left: undefined };
    expect(stringifyExactly(value)).toBe(`{"id":${big},"list":[{"a": 1.0},2]}`);
    expect(stringifyExactly(new JsonText("1e400"))).toBe("1e400");
    // What `replace` would read as a pattern.
    expect(stringifyExactly([new JsonText('"$&$1"')])).toBe('["$&$1"]');
  });

  it("is JSON.stringify for everything else", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => expect(stringifyExactly(value)).toBe(JSON.stringify(value))));
    expect(stringifyExactly(undefined)).toBeUndefined();
  });
});

describe("parseExactly", () => {
  it("keeps each number that would be rounded, or written differently", () => {
    const text = `{"a":${big},"b":[-1.50,1e400,0.1,3],"c":{"d":"${big}"}}`;
    expect(parseExactly(text)).toEqual({
      a: new JsonText(big),
      b: [new JsonText("-1.50"), new JsonText("1e400"), 0.1, 3],
      c: { d: big },
    });
    expect(stringifyExactly(parseExactly(text))).toBe(text);
    expect(parseExactly(` ${big} `)).toEqual(new JsonText(big));
  });

  it.each([
    "",
    "{a: 1}",
    "NaN",
    "'a'",
    "[1,]",
    "01",
    "+1",
    "0x10",
    "1 2",
    '"\n"',
    "{} // end",
    "undefined",
    "Infinity",
  ])("throws for %j, which is not JSON", (text) => expect(() => parseExactly(text)).toThrow(SyntaxError));

  it("is JSON.parse for what a double holds", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3 }), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        expect(stringifyExactly(parseExactly(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });
});

describe("layOut", () => {
  it("gives what JSON.stringify gives, with and without an indent", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3 }), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        expect(layOut(text)).toBe(JSON.stringify(value));
        expect(layOut(text, "  ")).toBe(JSON.stringify(value, undefined, 2));
      }),
    );
  });

  it("takes strings of many megabytes and many escapes", () => {
    const text = JSON.stringify(['"\\\n'.repeat(2_000_000)]);
    expect(layOut(text) === text).toBe(true);
  });
});
