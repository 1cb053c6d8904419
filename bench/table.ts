import Table from "cli-table3";
import type { Figures, Side } from "./measure";
import type { Row, Target } from "./row";

export interface MeasuredRow {
  readonly row: Row;
  readonly figures: Figures;
}

/** Formats all rows, with one line or more for each. */
export function createTable(rows: readonly MeasuredRow[]): string {
  const table = new Table({
    head: ["", "ours", "reference", "ratio", "target", "met"],
    colWidths: [46, 18, 34, 9, 12, 6],
    colAligns: ["left", "right", "right", "right", "right", "left"],
    wordWrap: true,
    style: { head: [], border: [] },
  });
  table.push(...rows.map(cellsOf));
  return table.toString();
}

function cellsOf({ row, figures }: MeasuredRow): string[] {
  const { ours, reference, ratio, isMet, notMeasured, failure } = figures;
  const target = row.target === undefined ? "" : describeTarget(row.target, row.unit);
  if (ours === undefined) {
    const reason = failure === undefined ? `not measured: ${notMeasured ?? ""}` : `failed: ${failure}`;
    return [row.name, "", reason, "", target, ""];
  }
  return [
    row.name,
    describeSide(ours, row.unit),
    reference === undefined ? row.reference : `${row.reference}\n${describeSide(reference, row.unit)}`,
    ratio === undefined ? "" : ratio.toFixed(2),
    target,
    isMet === undefined ? "" : isMet ? "yes" : "no",
  ];
}

function describeSide({ value, p95, p99 }: Side, unit: Row["unit"]): string {
  const main = inUnit(value, unit);
  return p95 === undefined || p99 === undefined
    ? main
    : `p50 ${main}\np95 ${inUnit(p95, unit)}\np99 ${inUnit(p99, unit)}`;
}

function describeTarget({ of, atMost, atLeast }: Target, unit: Row["unit"]): string {
  const describe = (limit: number): string => (of === "ratio" ? `${limit} ×` : inUnit(limit, unit));
  return atMost === undefined ? `≥ ${describe(atLeast ?? NaN)}` : `≤ ${describe(atMost)}`;
}

function inUnit(value: number, unit: Row["unit"]): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 2;
  const text = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit === "" || unit === "/s" ? `${text}${unit}` : `${text} ${unit}`;
}
