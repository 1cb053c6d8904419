import fc from "fast-check";

import { backoffMs } from "../../lib/database/backoff";

const most = (): number => 1;
const least = (): number => 0;

it("doubles from the base up to the cap", () => {
  const delays = [1, 2, 3, 4, 5, 6].map((attempt) => backoffMs(attempt, 50, 1_000, most));
  expect(delays).toEqual([50, 100, 200, 400, 800, 1_000]);
});

it("takes at least half of that", () => {
  const delays = [1, 2, 3, 4, 5, 6].map((attempt) => backoffMs(attempt, 50, 1_000, least));
  expect(delays).toEqual([25, 50, 100, 200, 400, 500]);
});

it("takes a part in between at random", () => {
  expect(backoffMs(1, 100, 1_000, () => 0.5)).toBe(75);
  const delays = new Set(Array.from({ length: 100 }, () => backoffMs(3, 100, 1_000)));
  expect(delays.size).toBeGreaterThan(50);
});

it.each([31, 32, 100, 1_100, Number.MAX_SAFE_INTEGER])("stays at the cap at attempt %p", (attempt) => {
  expect(backoffMs(attempt, 50, 2_000, most)).toBe(2_000);
});

it("starts at the cap if the base is above it", () => {
  expect(backoffMs(1, 5_000, 2_000, most)).toBe(2_000);
});

it("lies between half and all of what the attempt comes to, and never exceeds the cap", () => {
  const attempt = fc.integer({ min: 1, max: 10_000 });
  const ms = fc.integer({ min: 1, max: 1_000_000 });
  fc.assert(
    fc.property(attempt, ms, ms, (count, baseMs, capMs) => {
      const whole = Math.min(capMs, baseMs * 2 ** Math.min(count - 1, 100));
      // Below 2^30 times the base the cap always wins, so that no attempt is too large.
      const delayMs = backoffMs(count, baseMs, capMs);
      expect(delayMs).toBeGreaterThanOrEqual(whole / 2);
      expect(delayMs).toBeLessThanOrEqual(whole);
    }),
  );
});

it("never shrinks from one attempt to the next, but for chance", () => {
  const delays = Array.from({ length: 200 }, (_, index) => backoffMs(index + 1, 100, 15_000, least));
  expect(delays).toEqual(delays.toSorted((a, b) => a - b));
});
