/**
 * How long to wait before attempt number `attempt` (1 is the first retry): doubling from `baseMs` up to `capMs`, of which between half
 * and all is taken at random, so that processes that lost the same server do not come back in step.
 */
export function backoffMs(attempt: number, baseMs: number, capMs: number, random: () => number = Math.random): number {
  return Math.min(capMs, baseMs * 2 ** Math.min(attempt - 1, 30)) * (0.5 + random() / 2);
}
