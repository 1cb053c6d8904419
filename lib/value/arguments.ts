/**
 * Longest task or group id, in bytes of UTF-8. With its neighbours it fits a notification and a btree page (2704 bytes,
 * `nbtree.h`).
 */
export const maxIdBytes = 512;

/** Longest finite duration, in milliseconds: exact as a double, and a valid `timestamptz` when added to now. */
export const maxDurationMs = Number.MAX_SAFE_INTEGER;

/**
 * Longest timer. Node fires a longer one after 1 ms (Node docs, `setTimeout`), so longer delays are cut or re-armed.
 */
export const longestTimerMs = 2 ** 31 - 1;

/** Throws unless `id` is a string of 1 to 512 bytes of UTF-8 with no NUL and no lone surrogate. */
export function checkId(id: unknown, what: "taskId" | "groupId"): asserts id is string {
  if (typeof id !== "string") throw new TypeError(`${what}: expected a string, got ${typeName(id)}.`);
  if (id.length === 0) throw new RangeError(`${what}: expected 1 to ${maxIdBytes} bytes, got an empty string.`);
  if (id.length * 3 > maxIdBytes && Buffer.byteLength(id) > maxIdBytes) {
    throw new RangeError(`${what}: expected at most ${maxIdBytes} bytes of UTF-8, got ${Buffer.byteLength(id)}.`);
  }
  if (id.includes("\0")) throw new RangeError(`${what}: expected text without NUL, got ${JSON.stringify(id)}.`);
  if (!id.isWellFormed()) throw new RangeError(`${what}: expected well-formed Unicode, got ${JSON.stringify(id)}.`);
}

/** Throws unless `value` is a number of milliseconds of at least `min` (default 0), or `Infinity` if `infinite`. */
export function checkDurationMs(
  value: unknown,
  what: string,
  { min = 0, infinite = false }: { min?: number; infinite?: boolean } = {},
): asserts value is number {
  if (typeof value !== "number")
    throw new TypeError(`${what}: expected a number of milliseconds, got ${typeName(value)}.`);
  if (infinite && value === Infinity) return;
  if (!(value >= min && value <= maxDurationMs)) {
    throw new RangeError(`${what}: expected ${min} ms or more${infinite ? ", or Infinity" : ""}, got ${value}.`);
  }
}

/** Throws unless `value` is a time to live: more than 0 ms, or `Infinity` for never. */
export function checkTtlMs(value: unknown, what: string): asserts value is number {
  if (typeof value !== "number")
    throw new TypeError(`${what}: expected a number of milliseconds, got ${typeName(value)}.`);
  if (!(value > 0) || (value > maxDurationMs && value !== Infinity)) {
    throw new RangeError(`${what}: expected more than 0 ms, or Infinity for never, got ${value}.`);
  }
}

/** Throws unless `value` is a whole number from `min` to `max`. */
export function checkInteger(
  value: unknown,
  what: string,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (typeof value !== "number") throw new TypeError(`${what}: expected a number, got ${typeName(value)}.`);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what}: expected a whole number from ${min} to ${max}, got ${value}.`);
  }
}

/** The names of all options of a call, so that the compiler finds a missing one. */
export type OptionNames<Options> = { readonly [Name in keyof Required<Options>]: true };

/**
 * Throws a `TypeError` for an option that is not among `names`, and names the most similar one.
 *
 * @param prefix - Name of the option that holds these, with a point.
 */
export function checkOptions<Options extends object>(options: Options, names: OptionNames<Options>, prefix = ""): void {
  if (typeof (options as unknown) !== "object" || (options as unknown) === null)
    throw new TypeError(`options: expected an object, got ${typeName(options)}.`);
  // Not Object.keys, with which this took 0.5 µs instead of 0.3.
  for (const name in options) {
    if (name in names || !Object.hasOwn(options, name)) continue;
    const [similar = ""] = Object.keys(names).sort((one, other) => editDistance(name, one) - editDistance(name, other));
    throw new TypeError(`${prefix}${name}: unknown option. The most similar one is ${prefix}${similar}.`);
  }
}

/** Counts the characters to insert, delete or replace, without regard to case (Levenshtein distance). */
function editDistance(one: string, other: string): number {
  let distances = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (let row = 0; row < one.length; row += 1) {
    const next = [row + 1];
    for (const [column, distance] of distances.slice(1).entries()) {
      const replaced = (distances[column] ?? 0) + (other[column]?.toLowerCase() === one[row]?.toLowerCase() ? 0 : 1);
      next.push(Math.min(distance + 1, (next[column] ?? 0) + 1, replaced));
    }
    distances = next;
  }
  return distances.at(-1) ?? 0;
}

/** Names the type of a value for an error message. */
export function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : typeof value;
}

/**
 * Compares two ids by the bytes of their UTF-8, as Postgres does in the collation "C". By UTF-16 units, characters
 * beyond the BMP would come before U+E000.
 */
export function compareBytes(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let index = 0; index < length; index += 1) {
    const [a, b] = [one.charCodeAt(index), other.charCodeAt(index)];
    if (a !== b) return byteOrder(a) - byteOrder(b);
  }
  return one.length - other.length;
}

/** Orders surrogates, which stand for the characters beyond the BMP, after all other units. */
const byteOrder = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit);
