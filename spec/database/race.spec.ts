import { getEventListeners } from "node:events";
import { pause, settledWithin, unlessAborted, withTimeLimit } from "../../lib/database/race";

const never = new Promise<string>(() => undefined);

beforeEach(() => jest.useFakeTimers());

afterEach(() => {
  const timers = jest.getTimerCount();
  jest.useRealTimers();
  expect(timers).toBe(0);
});

describe("work with a time limit", () => {
  const fails = async (): Promise<string> => Promise.reject(new Error("failed"));

  it("settles as it does by itself if that is in time", async () => {
    expect(await withTimeLimit(Promise.resolve("value"), 10, () => "late")).toBe("value");
    await expect(withTimeLimit(fails(), 10, () => "late")).rejects.toThrow("failed");
  });

  it("ends at the limit with what is given for that, or with an error", async () => {
    const late = withTimeLimit(never, 10, () => "late");
    const thrown = withTimeLimit(never, 10, () => {
      throw new Error("too late");
    });
    const rejected = expect(thrown).rejects.toThrow("too late");
    await jest.advanceTimersByTimeAsync(10);
    expect(await late).toBe("late");
    await rejected;
  });

  it("does not end early because the limit is longer than a timer of Node can be", async () => {
    let isSettled = false;
    const limited = withTimeLimit(never, Infinity, () => "late").finally(() => (isSettled = true));
    await jest.advanceTimersByTimeAsync(1_000_000);
    expect(isSettled).toBe(false);
    await jest.advanceTimersByTimeAsync(2 ** 31);
    await limited;
  });

  it("may settle in any way where only its end matters", async () => {
    await settledWithin(fails(), 10);
    const settled = settledWithin(never, 10);
    await jest.advanceTimersByTimeAsync(10);
    await settled;
  });
});

describe("work that a signal may end", () => {
  it("rejects with the reason of the first signal that aborts, and leaves no listener", async () => {
    const [one, other] = [new AbortController(), new AbortController()];
    const rejected = expect(unlessAborted(never, [one.signal, other.signal])).rejects.toThrow("the other");
    other.abort(new Error("the other"));
    one.abort(new Error("the one"));
    await rejected;
    for (const { signal } of [one, other]) expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("rejects at once if a signal has aborted before", async () => {
    await expect(unlessAborted(never, [AbortSignal.abort(new Error("long ago"))])).rejects.toThrow("long ago");
  });

  it("settles as it does by itself if none aborts", async () => {
    const { signal } = new AbortController();
    expect(await unlessAborted(Promise.resolve("value"), [signal])).toBe("value");
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("may be a pause, which then leaves no timer", async () => {
    const paused = pause(10, []);
    await jest.advanceTimersByTimeAsync(10);
    await paused;
    const controller = new AbortController();
    const rejected = expect(pause(10, [controller.signal])).rejects.toThrow("over");
    controller.abort(new Error("over"));
    await rejected;
  });
});
