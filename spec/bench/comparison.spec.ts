import { describeComparison, describeRun } from "../../bench/comparison";
import type { RowResult } from "../../bench/result";
import { benchResult, rowResult } from "./support/results";

/** The cells of the table's rows, without its head. */
function cellsOf(comparison: string): string[][] {
  return comparison
    .split("\n")
    .filter((line) => line.startsWith("│"))
    .slice(1)
    .map((line) =>
      line
        .split("│")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

const compareRow = (earlier: Partial<RowResult>, later: Partial<RowResult>): string[] | undefined =>
  cellsOf(describeComparison(benchResult(rowResult(earlier)), benchResult(rowResult(later))))[0];

describe("a comparison with an earlier run", () => {
  it("shows both ratios and the change", () => {
    expect(compareRow({ ratio: 1.25 }, { ratio: 1.3 })).toEqual(["latency", "1.25", "1.30", "+4.0 %", ""]);
    expect(compareRow({ ratio: 1.25 }, { ratio: 1.25 })).toEqual(["latency", "1.25", "1.25", "0.0 %", ""]);
  });

  it("marks a change that is larger than the spread of both runs", () => {
    expect(compareRow({ ratio: 1, spread: 0.1 }, { ratio: 1.3, spread: 0.2 })?.at(-1)).toBe("worse");
    expect(compareRow({ ratio: 1, spread: 0.4 }, { ratio: 1.3, spread: 0.1 })?.at(-1)).toBe("");
    expect(compareRow({ ratio: 1, spread: 0.1 }, { ratio: 1.3, spread: 0.4 })?.at(-1)).toBe("");
    expect(compareRow({ ratio: 1.3, spread: 0.1 }, { ratio: 1, spread: 0.2 })?.at(-1)).toBe("better");
  });

  it("takes a higher ratio as better where the figure is a rate", () => {
    expect(compareRow({ unit: "/s", ratio: 1 }, { unit: "/s", ratio: 1.3 })?.at(-1)).toBe("better");
    expect(compareRow({ unit: "/s", ratio: 1.3 }, { unit: "/s", ratio: 1 })?.at(-1)).toBe("worse");
  });

  it("compares the figures of rows without a reference", () => {
    const heap = { unit: "B", reference: undefined, ratio: undefined, spread: 10 } as const;
    expect(compareRow({ ...heap, value: 1_000 }, { ...heap, value: 900 })).toEqual([
      "latency",
      "1,000 B",
      "900 B",
      "-10.0 %",
      "better",
    ]);
    expect(compareRow({ ...heap, value: 0 }, { ...heap, value: 0 })?.slice(3)).toEqual(["0.0 %", ""]);
    expect(compareRow({ ...heap, value: 0 }, { ...heap, value: 50 })?.slice(3)).toEqual(["–", "worse"]);
  });

  it("lists the rows that cannot be compared, each with the reason", () => {
    const earlier = benchResult(
      rowResult({}),
      rowResult({ name: "gone" }),
      rowResult({ name: "other reference", reference: { name: "polling", value: 1 } }),
      rowResult({ name: "once skipped", value: undefined, ratio: undefined }),
      rowResult({ name: "now skipped" }),
    );
    const later = benchResult(
      rowResult({}),
      rowResult({ name: "new" }),
      rowResult({ name: "other reference" }),
      rowResult({ name: "once skipped" }),
      rowResult({ name: "now skipped", value: undefined, ratio: undefined }),
    );
    const comparison = describeComparison(earlier, later);
    expect(cellsOf(comparison).map(([name]) => name)).toEqual(["latency"]);
    expect(comparison.slice(comparison.indexOf("Not compared"), comparison.indexOf("earlier: "))).toBe(`Not compared:
  new: only in this run
  other reference: the earlier reference was polling
  once skipped: not measured in the earlier run
  now skipped: not measured in this run
  gone: only in the earlier run
`);
  });

  it("ends with the machines of both runs", () => {
    const earlier = { ...benchResult(), isQuick: true, rounds: 2 };
    expect(describeComparison(earlier, benchResult()).split("\n").slice(-2)).toEqual([
      `earlier: ${describeRun(earlier)}`,
      `now:     ${describeRun(benchResult())}`,
    ]);
    expect(describeRun(earlier)).toBe(
      "Node 24.9.0, Postgres 18.1, linux 6.1, 2 × a processor, fdatasync 0.46 ms, 2 rounds (quick)",
    );
  });
});
