import type { BenchResult, RowResult } from "../../../bench/result";

/** A measured row, of which a spec gives what it is about. */
export function rowResult(row: Partial<RowResult>): RowResult {
  const measured = { unit: "ms", value: 1.2, reference: { name: "bare", value: 1 }, ratio: 1.2, spread: 0.1 } as const;
  return { name: "latency", ...measured, ...row };
}

/** The result of a full run with these rows. */
export function benchResult(...rows: RowResult[]): BenchResult {
  const machine = {
    node: "24.9.0",
    postgres: "18.1",
    system: "linux 6.1",
    processor: "a processor",
    cores: 2,
    fdatasyncMs: 0.4567,
  };
  return { format: 1, isQuick: false, rounds: 5, machine, rows };
}
