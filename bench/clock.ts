/**
 * Milliseconds with fractions, on the monotonic clock of the machine. Its zero is the same for all processes (on Linux and macOS it is the start of the machine), so times of two
 * of them may be subtracted; `performance.now()` counts from the start of each process.
 */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6;
