/** Deeper than any configuration; a value that contains itself ends here. */
const maxDepth = 8;

/**
 * Tells whether two configurations are certain to mean the same. Compares plain objects, arrays and bytes by their
 * contents, functions and instances of classes by identity: two functions with the same text can close over different
 * values. An absent entry equals an undefined one.
 */
export function areSameValues(one: unknown, other: unknown, depth = 0): boolean {
  if (Object.is(one, other)) return true;
  if (depth === maxDepth || !isObject(one) || !isObject(other)) return false;
  const prototype: unknown = Object.getPrototypeOf(one);
  if (prototype !== Object.getPrototypeOf(other)) return false;
  if (one instanceof Uint8Array && other instanceof Uint8Array) return Buffer.compare(one, other) === 0;
  if (prototype !== Object.prototype && prototype !== null && prototype !== Array.prototype) return false;
  // With the entries that are hidden from enumeration: the driver hides passwords and private keys.
  const keys = new Set([...Reflect.ownKeys(one), ...Reflect.ownKeys(other)]);
  return [...keys].every((key) => {
    const [mine, theirs] = [Object.getOwnPropertyDescriptor(one, key), Object.getOwnPropertyDescriptor(other, key)];
    // A getter can return another value each time.
    return mine?.get === theirs?.get && areSameValues(mine?.value, theirs?.value, depth + 1);
  });
}

export const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
