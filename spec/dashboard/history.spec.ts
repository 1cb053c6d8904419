import { History } from "../../lib/dashboard/history";

describe("the history of the last hour", () => {
  const now = 1_000_000_000_000;
  const sum = (values: readonly (number | null)[]): number =>
    values.reduce<number>((total, each) => total + (each ?? 0), 0);

  it("counts by the time of storing, in 360 points of ten seconds, and forgets what is older", () => {
    const history = new History();
    history.moveTo(now);
    for (const [secondsAgo, count] of [
      [5, 7],
      [3_599, 2],
      [3_601, 4],
    ] as const)
      history.add(now / 1_000 - secondsAgo, count, 1);
    const { results, failures, until } = history.series([]);
    expect(until).toBe(now);
    expect(results).toHaveLength(360);
    expect([results.at(-1), results[0]]).toEqual([7, 2]);
    expect(sum(results)).toBe(9);
    expect(sum(failures)).toBe(2);
    history.moveTo(now + 1_800_000);
    expect(sum(history.series([]).results)).toBe(7);
    history.moveTo(now + 7_200_000);
    expect(sum(history.series([]).results)).toBe(0);
  });

  it("leaves out each point that a gap touches", () => {
    const history = new History();
    history.moveTo(now);
    history.add(now / 1_000 - 5, 7, 0);
    const { results, failures } = history.series([[now - 30_001, now - 20_000]]);
    expect(results.slice(-5)).toEqual([0, null, null, 0, 7]);
    expect(failures.slice(-5)).toEqual([0, null, null, 0, 0]);
    expect(history.series([[0, now - 3_595_000]]).results.slice(0, 2)).toEqual([null, 0]);
  });

  it("averages the rate over ten seconds", () => {
    const history = new History();
    history.moveTo(now);
    history.add(now / 1_000 - 60, 1_000, 0);
    history.add(now / 1_000 - 2, 25, 0);
    history.moveTo(now);
    expect(history.perSecond).toBe(2.5);
    history.moveTo(now + 10_000);
    expect(history.perSecond).toBe(0);
  });

  it("keeps the longest latency of each point, and no value where none was measured", () => {
    const history = new History();
    history.moveTo(now);
    for (const latency of [1, 3.14159, 2]) history.addLatency(latency);
    expect(history.series([]).latencies.slice(-2)).toEqual([null, 3.14]);
  });
});
