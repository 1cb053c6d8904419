import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { evaluate } from "../../bench/measure";
import { readResult, writeResult } from "../../bench/result";
import { UsageError } from "../../tools/command-line";
import { benchResult, rowResult } from "./support/results";

const reference = { name: "bare", description: "", code: ["file", "name"] } as const;
const samples = (...values: number[]): { value: number }[] => values.map((value) => ({ value }));

describe("the figures of a row", () => {
  const row = { name: "latency", unit: "ms", reference, target: { of: "ratio", atMost: 1.5 } } as const;

  it("are medians, and the ratio is the median of the rounds' ratios", () => {
    const sides = { ours: samples(2, 3, 8), reference: samples(1, 2, 5) };
    expect(evaluate(row, sides)).toMatchObject({
      value: 3,
      reference: { name: "bare", value: 2 },
      ratio: 1.6,
      spread: 0.5,
      isMet: false,
      rounds: [
        { ours: 2, reference: 1 },
        { ours: 3, reference: 2 },
        { ours: 8, reference: 5 },
      ],
    });
  });

  it("include the percentiles of latencies", () => {
    const [low, high] = [
      { value: 1, p95: 2, p99: 3 },
      { value: 2, p95: 4, p99: 9 },
    ];
    const sides = { ours: [low, high], reference: [low, low] };
    expect(evaluate(row, sides)).toMatchObject({ p95: 3, p99: 6, reference: { p95: 2, p99: 3 }, isMet: true });
  });

  it("have a spread of the figure itself, without a ratio, if there is no reference", () => {
    const alone = { name: "heap", unit: "B", target: { of: "ours", atMost: 950 } } as const;
    const result = evaluate(alone, { ours: samples(900, 940, 910), reference: [] });
    expect(result).toMatchObject({ value: 910, spread: 40, isMet: true });
    expect(result.ratio).toBeUndefined();
    expect(result.reference).toBeUndefined();
  });

  it("leave out rounds in which the reference took no measurable time", () => {
    const sides = { ours: samples(2, 3, 4), reference: samples(0, 2, 2) };
    expect(evaluate(row, sides)).toMatchObject({ ratio: 1.75, spread: 0.5 });
    expect(evaluate(row, { ours: samples(2), reference: samples(0) }).isMet).toBeUndefined();
  });
});

describe("the result as JSON", () => {
  let folder: string;
  let file: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "bench-result-"));
    file = join(folder, "result.json");
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  const readError = (): unknown => {
    try {
      return readResult(file);
    } catch (error) {
      return error;
    }
  };

  it("is read as it was written", () => {
    const result = benchResult(
      rowResult({
        target: { of: "ratio", atMost: 1.5 },
        isMet: true,
        p95: 2,
        p99: 3,
        rounds: [{ ours: 1.2, reference: 1 }],
      }),
      { name: "heap", unit: "B", value: 900, spread: 0, rounds: [{ ours: 900 }] },
      { name: "drain", unit: "/s", reference: { name: "Redis" }, notMeasured: "redis-server is not installed" },
      { name: "burst", unit: "/s", failure: "the process storing ended" },
    );
    writeResult(file, result);
    expect(readResult(file)).toEqual(result);
  });

  it("has the machine, and each row's name, unit, value, reference, ratio, spread and target", () => {
    writeResult(file, benchResult(rowResult({ target: { of: "ratio", atMost: 1.5 } })));
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({
      machine: { node: "24.9.0", postgres: "18.1", cores: 2, fdatasyncMs: 0.4567 },
      rows: [
        {
          name: "latency",
          unit: "ms",
          value: 1.2,
          reference: { name: "bare", value: 1 },
          ratio: 1.2,
          spread: 0.1,
          target: { of: "ratio", atMost: 1.5 },
        },
      ],
    });
  });

  it("is an error by name if the file is missing or cut off", () => {
    expect(readError()).toBeInstanceOf(UsageError);
    expect(readError()).toMatchObject({
      message: expect.stringMatching(/result\.json cannot be read: ENOENT/) as string,
    });
    writeResult(file, benchResult(rowResult({})));
    writeFileSync(file, readFileSync(file, "utf8").slice(0, -20));
    expect(readError()).toMatchObject({
      message: expect.stringMatching(/result\.json cannot be read: .*JSON/) as string,
    });
  });

  it("is an error by name if the file cannot be written", () => {
    const path = join(folder, "no such folder", "result.json");
    expect(() => writeResult(path, benchResult())).toThrow(/^The result cannot be written to .*result\.json: ENOENT/);
  });

  it.each([
    [{ rows: [] }, "format"],
    [{ ...benchResult(), format: 2 }, "format"],
    [[], "expected object"],
    [{ ...benchResult(), rows: [{ ...rowResult({}), ratio: "1.2" }] }, "rows[0].ratio"],
    [{ ...benchResult(), rows: [{ unit: "ms" }] }, "rows[0].name"],
  ])("is an error that says where, if the content is not that of a result: %j", (content, place) => {
    writeFileSync(file, JSON.stringify(content));
    expect(readError()).toBeInstanceOf(UsageError);
    const message = (readError() as UsageError).message;
    expect(message).toContain(`${file} is not a result of this bench:`);
    expect(message).toContain(place);
  });
});
