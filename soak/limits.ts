// What is asked of the library, in milliseconds. Where it promises a time, the time is longer here by what a busy machine may add.

/** For a wait, beyond its deadline: one second for its last read is promised. */
export const waitMarginMs = 1_000 + 1_500;
/** For a store or a member of a group: `retryTimeoutMs`, by default 10 s. */
export const writeLimitMs = 10_000 + 1_500;
/**
 * A wait that times out although its result was there for so long before, not counting the time in which the server could not be reached, is late. Faults of up to
 * two seconds overlap, a read that is lost is tried again after five, and sweeps are two seconds apart.
 */
export const lateAfterMs = 8_000;
/**
 * For what streams are owed at the end, once nothing is broken any more: as long as a worker takes to find out that its connections were forgotten. It is over when all
 * has ended.
 */
export const settleMs = 45_000;
/** For `close`: five seconds for writes, one for connections, and the listener's farewell. */
export const closeLimitMs = 8_000;
/** Open waits end so long after the last fault at the latest. */
export const longestAfterEndMs = 9_000;
/** For what is beyond all limits: it counts as never ended. */
export const hangAfterMs = 10_000;
/**
 * After the minutes that were asked for; then the run is ended by force. More than its parts may take one after the other: to mend (25 s), to settle, to compare
 * (two queries of 15 s), to close (10 s), and to look for what was left (8 s).
 */
export const overtimeMs = 25_000 + settleMs + 30_000 + 10_000 + 8_000 + 2_000;
/** Between sweeps. Less than by default, so that what only a sweep finds is found within a run. */
export const sweepIntervalMs = 2_000;
