/**
 * The time here, in milliseconds. Not `performance.now()`: `node:test`, and Vitest before 3, leave that as it is when they replace timers and `Date`, and a
 * wait or a time to live would never end.
 */
export const now = (): number => Date.now();
