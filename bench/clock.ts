/**
 * Milliseconds with fractions on the machine's monotonic clock. Its zero is the same for all processes (the boot on
 * Linux and macOS), so times of two processes may be subtracted. `performance.now()` counts from the start of each
 * process.
 */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6;
