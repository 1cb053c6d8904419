import { RecentCounts } from "../../lib/dashboard/monitor";

describe("recent counts", () => {
  it("have the seconds that are over, also those in which nothing was counted", () => {
    let now = 10_500;
    const counts = new RecentCounts(3, () => now);
    const at = (time: number): readonly number[] => {
      now = time;
      return counts.history();
    };
    counts.add();
    counts.add();
    expect(at(10_999)).toEqual([0, 0, 0]);
    expect(at(11_000)).toEqual([0, 0, 2]);
    counts.add();
    expect(at(12_000)).toEqual([0, 2, 1]);
    expect(at(13_000)).toEqual([2, 1, 0]);
    counts.add();
    expect(at(15_900)).toEqual([0, 1, 0]);
    expect(at(1_000_000)).toEqual([0, 0, 0]);
    counts.add();
    expect(at(1_001_000)).toEqual([0, 0, 1]);
  });
});
