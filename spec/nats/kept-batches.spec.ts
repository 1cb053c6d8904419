import { KeptBatches } from "../../lib/nats/kept-batches";

describe("what is kept of announcements", () => {
  it("is what was not confirmed, however old", () => {
    const kept = new KeptBatches(100, 1_000);
    kept.add("ids", ["a", "b"], 0);
    const { place } = kept.add("members", ["g"], 1);
    expect(kept.isConfirmed).toBe(false);
    kept.forget(1_000_000);
    expect([kept.idsOf("ids"), kept.idsOf("members")]).toEqual([new Set(["a", "b"]), new Set(["g"])]);
    kept.confirm(place, 1_000_000);
    expect([kept.isConfirmed, kept.idsOf("ids").size]).toEqual([true, 0]);
  });

  it("is, for a while, what was confirmed too, and all of it is in doubt when a connection is lost", () => {
    const kept = new KeptBatches(100, 1_000);
    kept.add("ids", ["old"], 0);
    const { place } = kept.add("ids", ["new"], 1_500);
    kept.confirm(place, 2_000);
    expect(kept.isConfirmed).toBe(true);
    expect(kept.doubt(2_000)).toBe(false);
    expect([kept.isConfirmed, kept.idsOf("ids")]).toEqual([false, new Set(["new"])]);
    kept.confirm(kept.last, 3_000);
    expect(kept.isConfirmed).toBe(true);
  });

  it("can be asked for from a place on", () => {
    const kept = new KeptBatches(100, 1_000);
    const { place } = kept.add("ids", ["a"], 0);
    kept.add("ids", ["b", "a"], 0);
    expect(kept.idsOf("ids", place)).toEqual(new Set(["b", "a"]));
  });

  it("has bounds, and knows of a gap until what fell out is confirmed, or long ago", () => {
    const kept = new KeptBatches(3, 1_000);
    kept.add("ids", ["a", "b"], 0);
    kept.add("ids", ["c"], 0);
    expect(kept.hasLost).toBe(false);
    const { place } = kept.add("ids", ["d"], 0);
    expect([kept.hasLost, kept.idsOf("ids")]).toEqual([true, new Set(["c", "d"])]);
    kept.confirm(place, 100);
    expect(kept.hasLost).toBe(false);
    expect(kept.doubt(500)).toBe(true);
    kept.confirm(place, 5_000);
    expect(kept.doubt(5_000)).toBe(false);
  });

  it("is let go of in time that does not grow with what has been", () => {
    const kept = new KeptBatches(20_000, 0);
    for (let count = 1; count <= 200_000; count += 1) {
      kept.add("ids", ["a"], count);
      kept.confirm(count, count);
    }
    expect(kept.idsOf("ids").size).toBeLessThanOrEqual(1);
  });
});
