import { endOfString } from "./json-text";

/** Node refuses strings of more characters, with an error that ends the process (V8, `String::kMaxLength`). */
const longestString = 0x1fffffe8;
/** As jsonb adds a space after each comma and each colon, `[1,1]` is half as long again. */
const spacesOfJsonb = 1.5;
/** Room for a failure where `maxResultBytes` leaves less, so that it says at least what it is. */
export const minFailureBytes = 1_024;

/** The longest text of a result, or of a failure, that is read: one of `maxResultBytes`, as jsonb writes it. */
export const maxTextBytes = (maxResultBytes: number): number =>
  Math.min(Math.floor(Math.max(maxResultBytes, minFailureBytes) * spacesOfJsonb), longestString);

const exponent = /\d[eE][-+]?\d/;

/**
 * Whether jsonb writes a JSON text within `maxBytes`. jsonb writes numbers without an exponent: `1e308`, which is 5 bytes, takes 309, and `1e131071` 128 KiB. A text without
 * exponents has grown by spaces at the most, and is not looked through.
 */
export const fitsAsJsonb = (text: string, maxBytes: number): boolean =>
  !exponent.test(text) || textBytesOfJsonb(text) <= maxBytes;

/** The bytes of a JSON text as jsonb writes it. */
function textBytesOfJsonb(text: string): number {
  let bytes = Buffer.byteLength(text);
  const marks = /[",:eE]|[ \t\r\n]+/g;
  for (let match = marks.exec(text); match !== null; match = marks.exec(text)) {
    const [mark] = match;
    if (mark === '"') marks.lastIndex = endOfString(text, match.index);
    else if (mark === "," || mark === ":") bytes += 1;
    else if (mark !== "e" && mark !== "E") bytes -= mark.length;
    // Not that of `true` or `false`.
    else if (isDigit(text[match.index - 1])) {
      const number = numberAround(text, match.index);
      bytes += plainLength(number) - number.length;
    }
  }
  return bytes;
}

const isDigit = (unit: string | undefined): boolean => unit !== undefined && unit >= "0" && unit <= "9";

function numberAround(text: string, exponentAt: number): string {
  let start = exponentAt;
  while (start > 0 && (isDigit(text[start - 1]) || text[start - 1] === "." || text[start - 1] === "-")) start -= 1;
  let end = exponentAt + 2;
  while (isDigit(text[end])) end += 1;
  return text.slice(start, end);
}

/** The length of a number without its exponent, as `numeric` writes it: all digits after the point are kept, zeros, too. */
function plainLength(number: string): number {
  const [mantissa = "", power = ""] = number.split(/[eE]/);
  const [whole = "", fraction = ""] = mantissa.replace("-", "").split(".");
  const leadingZeros = /^0*/.exec(whole + fraction)?.[0].length ?? 0;
  const isZero = leadingZeros === whole.length + fraction.length;
  const wholeDigits = isZero ? 1 : Math.max(1, whole.length + Number(power) - leadingZeros);
  const fractionDigits = Math.max(0, fraction.length - Number(power));
  return (number.startsWith("-") && !isZero ? 1 : 0) + wholeDigits + (fractionDigits > 0 ? 1 + fractionDigits : 0);
}
