// Limits the library is held to, in milliseconds. Promised times get a margin for a busy machine.

/** A wait, past its deadline: one second for its last read is promised. */
export const waitMarginMs = 1_000 + 1_500;
/** A store or a group member: `retryTimeoutMs`, by default 10 s. */
export const writeLimitMs = 10_000 + 1_500;
/**
 * A wait is late if it times out although its result was stored this long before, not counting the time in which the
 * server was out of reach. Faults of up to two seconds overlap, a lost read is repeated after five, and sweeps are two
 * seconds apart.
 */
export const lateAfterMs = 8_000;
/**
 * Time for the streams to catch up at the end, once no fault is active: as long as a worker takes to discover dead
 * connections. Ends early when everything has arrived.
 */
export const settleMs = 45_000;
/** `close`: five seconds for writes, one for connections, and the listener's last message. */
export const closeLimitMs = 8_000;
/** Open waits end at most this long after the last fault. */
export const longestAfterEndMs = 9_000;
/** A call past all limits counts as never ended. */
export const hangAfterMs = 10_000;
/**
 * Time after the requested minutes before the run is ended by force. More than its parts take in sequence: repairing
 * (25 s), settling, comparing (two queries of 15 s), closing (10 s), and the search for leaks (8 s).
 */
export const overtimeMs = 25_000 + settleMs + 30_000 + 10_000 + 8_000 + 2_000;
/** Interval of sweeps. Shorter than the default, so that a run is long enough to find what only a sweep can find. */
export const sweepIntervalMs = 2_000;
