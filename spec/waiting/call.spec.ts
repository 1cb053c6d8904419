import { Call } from "../../lib/waiting/call";
import { Deadlines } from "../../lib/waiting/deadlines";

beforeEach(() => jest.useFakeTimers());

afterEach(() => {
  const timers = jest.getTimerCount();
  jest.useRealTimers();
  expect(timers).toBe(0);
});

const late = (): Error => new Error("too late");

it("resolves with what it is given, and leaves the deadlines", async () => {
  const deadlines = new Deadlines();
  const call = new Call<string>(deadlines, 1_000, late);
  expect(deadlines.size).toBe(1);
  call.resolve("value");
  expect(deadlines.size).toBe(0);
  await expect(call.promise).resolves.toBe("value");
});

it("rejects with what it is given, and leaves the deadlines", async () => {
  const deadlines = new Deadlines();
  const call = new Call<string>(deadlines, 1_000, late);
  const error = new Error("refused");
  call.reject(error);
  expect(deadlines.size).toBe(0);
  await expect(call.promise).rejects.toBe(error);
});

it("rejects when nobody has settled it in time, with an error that is made only then", async () => {
  const deadlines = new Deadlines();
  const makeLate = jest.fn(late);
  const call = new Call<string>(deadlines, 1_000, makeLate);
  const outcome = expect(call.promise).rejects.toThrow("too late");
  jest.advanceTimersByTime(999);
  expect(makeLate).not.toHaveBeenCalled();
  jest.advanceTimersByTime(1);
  await outcome;
  expect(makeLate).toHaveBeenCalledTimes(1);
  expect(deadlines.size).toBe(0);
});

it("rejects with the reason when everything ends early", async () => {
  const deadlines = new Deadlines();
  const makeLate = jest.fn(late);
  const calls = [new Call(deadlines, 1_000, makeLate), new Call(deadlines, 2_000, makeLate)];
  const reason = new Error("closed");
  const outcomes = Promise.allSettled(calls.map(({ promise }) => promise));
  deadlines.expireAll(reason);
  expect(await outcomes).toEqual(calls.map(() => ({ status: "rejected", reason })));
  expect(makeLate).not.toHaveBeenCalled();
});

it("stays as it was first settled", async () => {
  const deadlines = new Deadlines();
  const call = new Call<string>(deadlines, 1_000, late);
  call.resolve("first");
  call.resolve("second");
  call.reject(new Error("third"));
  call.expire();
  await expect(call.promise).resolves.toBe("first");
});

it("may be settled after it has expired, which changes nothing", async () => {
  const deadlines = new Deadlines();
  const call = new Call<string>(deadlines, 10, late);
  const outcome = expect(call.promise).rejects.toThrow("too late");
  jest.advanceTimersByTime(10);
  call.resolve("value");
  await outcome;
});

it("does not outlive its promise among the deadlines of others", async () => {
  const deadlines = new Deadlines();
  const calls = Array.from({ length: 100 }, (_, index) => new Call<number>(deadlines, 100 + index, late));
  calls.forEach((call, index) => call.resolve(index));
  expect(deadlines.size).toBe(0);
  await expect(Promise.all(calls.map(({ promise }) => promise))).resolves.toHaveLength(100);
});

it("never rejects by itself where its time is unlimited", async () => {
  const deadlines = new Deadlines();
  const call = new Call<string>(deadlines, Infinity, late);
  jest.advanceTimersByTime(2 ** 40);
  call.resolve("at last");
  await expect(call.promise).resolves.toBe("at last");
});
