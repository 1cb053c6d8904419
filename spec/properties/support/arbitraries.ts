import fc from "fast-check";
import { maxIdBytes } from "../../../lib/value/arguments";

/**
 * For properties that wait for a database: a run that takes too long has to end with its counterexample before Jest's
 * time-out.
 */
export const bounded = { interruptAfterTimeLimit: 25_000 } as const;

/** Texts with a meaning in JSON, array literals, LIKE, the driver or the Rust crate. */
const fragments = [
  '"',
  "'",
  "\\",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  "%",
  "_",
  "$1",
  "NULL",
  "\n",
  "\r\n",
  "\t",
  " ",
  "\u0001",
  "\u001f",
  "\u007f",
  "\u2028",
  "\ufeff",
  "\uffff",
  "é",
  "e\u0301",
  "漢字",
  "👩‍👩‍👧",
  ":placeholder:",
  String.raw`\u0000`,
  "--",
  ";",
];

/** One or a few characters that Postgres can hold: anything but NUL and unpaired surrogates. */
export const anyUnit = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...fragments) },
  { weight: 2, arbitrary: fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 }).map(withoutNul) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", minLength: 1, maxLength: 1 }).map(withoutNul) },
);

/** Text of 1 to `maxBytes` bytes of UTF-8: often short, sometimes of the full length. */
export function anyText(maxBytes: number): fc.Arbitrary<string> {
  const short = fc.string({ unit: anyUnit, minLength: 1, maxLength: 12 });
  const long = fc
    .tuple(fc.string({ unit: anyUnit, minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: maxBytes }))
    .map(([text, bytes]) => text.repeat(Math.ceil(bytes / Buffer.byteLength(text))));
  return fc
    .oneof({ weight: 4, arbitrary: short }, { weight: 1, arbitrary: long })
    .map((text) => firstBytes(text, maxBytes));
}

/** An id that every call accepts. */
export const anyId = anyText(maxIdBytes);

/** An invalid id: too long, empty, not representable, or not a string. */
export const anyBadId: fc.Arbitrary<unknown> = fc.oneof(
  fc.constant(""),
  anyId.map((id) => id + "x".repeat(maxIdBytes)),
  fc.tuple(fc.string(), fc.string()).map((around) => around.join("\0")),
  fc.tuple(fc.constantFrom("\ud800", "\udbff", "\udc00", "\udfff"), fc.string()).map(([half, text]) => text + half),
  fc.anything().filter((value) => typeof value !== "string"),
);

function withoutNul(text: string): string {
  return text.replaceAll("\0", "\u0001");
}

/** The longest prefix of a text with at most `maxBytes` bytes, and at least one character. */
function firstBytes(text: string, maxBytes: number): string {
  let bytes = 0;
  let units = 0;
  for (const character of text) {
    bytes += Buffer.byteLength(character);
    if (bytes > maxBytes) break;
    units += character.length;
  }
  return text.slice(0, units);
}
