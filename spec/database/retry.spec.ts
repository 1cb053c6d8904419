import fc from "fast-check";
import { getEventListeners } from "node:events";
import { backoffMs, isTransient, type RetryOptions, retryTransient, retryUntilAborted } from "../../lib/database/retry";
import { BackendClosedError, DatabaseError, SchemaError } from "../../lib/errors";

const transient = (message = "server gone"): DatabaseError => new DatabaseError(message, "57P01", true);
const permanent = (): DatabaseError => new DatabaseError("permission denied", "42501", false);

/** An attempt that ends as told, each time with the next outcome, and with the last one from then on. */
function attempts(...outcomes: (Error | string)[]): jest.Mock<Promise<string>, []> {
  let count = 0;
  return jest.fn(() => {
    const outcome = outcomes[Math.min(count, outcomes.length - 1)] ?? "";
    count += 1;
    return typeof outcome === "string" ? Promise.resolve(outcome) : Promise.reject(outcome);
  });
}

/** Retries for ten seconds unless told otherwise, and keeps the outcome. */
function retrying(
  attempt: () => Promise<string>,
  options: Partial<RetryOptions> & { forMs?: number } = {},
  retry = retryUntilAborted<string>,
): { outcome: () => unknown } {
  const { forMs = 10_000, ...rest } = options;
  let outcome: unknown = "pending";
  void retry(attempt, { dueAt: performance.now() + forMs, signals: [], ...rest }).then(
    (value) => (outcome = value),
    (error: unknown) => (outcome = error),
  );
  return { outcome: () => outcome };
}

beforeEach(() => jest.useFakeTimers());

afterEach(() => {
  const timers = jest.getTimerCount();
  jest.useRealTimers();
  jest.restoreAllMocks();
  expect(timers).toBe(0);
});

it("gives what the first attempt gives, and makes no other", async () => {
  const attempt = attempts("value");
  const { outcome } = retrying(attempt);
  await jest.advanceTimersByTimeAsync(0);
  expect(outcome()).toBe("value");
  expect(attempt).toHaveBeenCalledTimes(1);
});

it("repeats what fails with a transient error, and says so each time", async () => {
  const [first, second] = [transient("first"), transient("second")];
  const attempt = attempts(first, second, "value");
  const onRetry = jest.fn();
  const { outcome } = retrying(attempt, { onRetry });
  await jest.advanceTimersByTimeAsync(1_000);
  expect(outcome()).toBe("value");
  expect(attempt).toHaveBeenCalledTimes(3);
  expect(onRetry.mock.calls).toEqual([[first], [second]]);
});

it("rejects with the error before a statement that came too late, which does not say why it was repeated", async () => {
  const why = transient("read-only");
  const attempt = attempts(why, new DatabaseError("late", "KJ001", true));
  const { outcome } = retrying(attempt, { forMs: 500 });
  await jest.advanceTimersByTimeAsync(1_000);
  expect(outcome()).toBe(why);
  expect(attempt.mock.calls.length).toBeGreaterThan(1);
});

it("rejects with the error before an attempt for which too little time was left", async () => {
  const why = transient("read-only");
  // Attempts begin after 0, 50, 150 and 350 ms.
  jest.spyOn(Math, "random").mockReturnValue(1);
  let delayMs = 0;
  const attempt = jest.fn(async (limitMs: number): Promise<string> => {
    if (limitMs < 250) await new Promise((resolve) => setTimeout(resolve, (delayMs = limitMs)));
    throw limitMs < 250 ? transient("no answer") : why;
  });
  let outcome: unknown;
  retryTransient(attempt, { dueAt: performance.now() + 500, signals: [] }).catch((error: unknown) => (outcome = error));
  await jest.advanceTimersByTimeAsync(1_000);
  expect(delayMs).toBe(150);
  expect(outcome).toBe(why);
});

it.each([
  ["of the database that is not transient", permanent()],
  ["about the schema", new SchemaError("public", "missing", "not migrated")],
  ["of the backend being closed", new BackendClosedError()],
  ["of any other kind", new TypeError("a bug")],
  ["that only looks transient", Object.assign(new Error("m"), { transient: true })],
])("rejects at once with an error %s", async (_what, error) => {
  const attempt = attempts(error);
  const onRetry = jest.fn();
  const { outcome } = retrying(attempt, { onRetry });
  await jest.advanceTimersByTimeAsync(0);
  expect(outcome()).toBe(error);
  expect(attempt).toHaveBeenCalledTimes(1);
  expect(onRetry).not.toHaveBeenCalled();
});

it("stops at the first error that is not transient", async () => {
  const denied = permanent();
  const attempt = attempts(transient(), denied);
  const { outcome } = retrying(attempt);
  await jest.advanceTimersByTimeAsync(1_000);
  expect(outcome()).toBe(denied);
  expect(attempt).toHaveBeenCalledTimes(2);
});

it("rejects with an attempt that throws instead of rejecting", async () => {
  const bug = new TypeError("a bug");
  const { outcome } = retrying(() => {
    throw bug;
  });
  await jest.advanceTimersByTimeAsync(0);
  expect(outcome()).toBe(bug);
});

it("gives up with the last error when the next attempt would be too late", async () => {
  const errors: DatabaseError[] = [];
  const startedAt = performance.now();
  let lastAttemptAt = 0;
  const { outcome } = retrying(
    () => {
      lastAttemptAt = performance.now() - startedAt;
      errors.push(transient(`attempt ${errors.length}`));
      return Promise.reject(errors.at(-1) ?? transient());
    },
    { forMs: 5_000 },
  );
  await jest.advanceTimersByTimeAsync(5_000);
  expect(errors.length).toBeGreaterThan(5);
  expect(outcome()).toBe(errors.at(-1));
  expect(lastAttemptAt).toBeLessThan(5_000);
});

it("makes one attempt even if its time is already over", async () => {
  const attempt = attempts(transient());
  const { outcome } = retrying(attempt, { forMs: -1 });
  await jest.advanceTimersByTimeAsync(0);
  expect(attempt).toHaveBeenCalledTimes(1);
  expect(outcome()).toBeInstanceOf(DatabaseError);
});

it("takes the value of an attempt that comes after its time", async () => {
  let resolve: (value: string) => void = () => undefined;
  const { outcome } = retrying(() => new Promise((settle) => (resolve = settle)), { forMs: 100 });
  await jest.advanceTimersByTimeAsync(500);
  resolve("late");
  await jest.advanceTimersByTimeAsync(0);
  expect(outcome()).toBe("late");
});

it("waits twice as long after each attempt, up to two seconds less what is left to chance", async () => {
  jest.spyOn(Math, "random").mockReturnValue(0);
  const startedAt = performance.now();
  const times: number[] = [];
  const denied = permanent();
  const { outcome } = retrying(
    () => {
      times.push(Math.round(performance.now() - startedAt));
      return Promise.reject(times.length === 9 ? denied : transient());
    },
    { forMs: Infinity },
  );
  await jest.advanceTimersByTimeAsync(60_000);
  expect(outcome()).toBe(denied);
  const delays = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  expect(delays).toEqual([25, 50, 100, 200, 400, 800, 1_000, 1_000]);
});

describe("when the backend closes", () => {
  it("ends while it waits for the next attempt, which is not made", async () => {
    const closing = new AbortController();
    const attempt = attempts(transient());
    const { outcome } = retrying(attempt, { signals: [closing.signal] });
    await jest.advanceTimersByTimeAsync(0);
    expect(jest.getTimerCount()).toBe(1);
    const closed = new BackendClosedError();
    closing.abort(closed);
    await jest.advanceTimersByTimeAsync(10_000);
    expect(outcome()).toBe(closed);
    expect(attempt).toHaveBeenCalledTimes(1);
    expect(getEventListeners(closing.signal, "abort")).toEqual([]);
  });

  it("ends at once, also while an attempt is under way, and lets that fail in peace", async () => {
    const closing = new AbortController();
    let reject: (error: Error) => void = () => undefined;
    const attempt = jest.fn(() => new Promise<string>((_resolve, fail) => (reject = fail)));
    const { outcome } = retrying(attempt, { signals: [closing.signal] });
    const closed = new BackendClosedError();
    closing.abort(closed);
    await jest.advanceTimersByTimeAsync(0);
    expect(outcome()).toBe(closed);
    reject(transient());
    await jest.advanceTimersByTimeAsync(10_000);
    expect(attempt).toHaveBeenCalledTimes(1);
  });

  it("lets an attempt under way run to its own end if asked to, and makes no other", async () => {
    const closing = new AbortController();
    let reject: (error: Error) => void = () => undefined;
    const attempt = jest.fn(() => new Promise<string>((_resolve, fail) => (reject = fail)));
    const { outcome } = retrying(attempt, { signals: [closing.signal] }, retryTransient);
    const closed = new BackendClosedError();
    closing.abort(closed);
    await jest.advanceTimersByTimeAsync(0);
    expect(outcome()).toBe("pending");
    reject(transient());
    await jest.advanceTimersByTimeAsync(10_000);
    expect(outcome()).toBe(closed);
    expect(attempt).toHaveBeenCalledTimes(1);
  });

  it("no longer listens for that between attempts, or once it is done", async () => {
    const closing = new AbortController();
    const { outcome } = retrying(attempts(transient(), "value"), { signals: [closing.signal] });
    await jest.advanceTimersByTimeAsync(0);
    expect(getEventListeners(closing.signal, "abort").length).toBeGreaterThan(0);
    await jest.advanceTimersByTimeAsync(100);
    expect(outcome()).toBe("value");
    expect(getEventListeners(closing.signal, "abort")).toEqual([]);
  });
});

it("calls transient only what the database failed with, and may not fail with again", () => {
  const errors = [transient(), permanent(), new BackendClosedError(), new Error("m"), { transient: true }, undefined];
  expect(errors.map(isTransient)).toEqual([true, false, false, false, false, false]);
});

describe("the delay before an attempt", () => {
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
});
