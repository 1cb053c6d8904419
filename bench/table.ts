import Table from "cli-table3";
import type { RowResult, Target } from "./result";

type Column = readonly [head: string, width: number, align: "left" | "right"];

/** Formats a table whose cells may have several lines. */
export function createTable(columns: readonly Column[], rows: readonly string[][]): string {
  const table = new Table({
    head: columns.map(([head]) => head),
    colWidths: columns.map(([, width]) => width),
    colAligns: columns.map(([, , align]) => align),
    wordWrap: true,
    style: { head: [], border: [] },
  });
  table.push(...rows);
  return table.toString();
}

/** Formats the measured rows. */
export function describeResults(rows: readonly RowResult[]): string {
  const columns: Column[] = [
    ["", 46, "left"],
    ["ours", 18, "right"],
    ["reference", 34, "right"],
    ["ratio", 9, "right"],
    ["target", 12, "right"],
    ["met", 6, "left"],
  ];
  return createTable(columns, rows.map(cellsOf));
}

export function formatFigure(value: number, unit: RowResult["unit"]): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 2;
  const text = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit === "" || unit === "/s" ? `${text}${unit}` : `${text} ${unit}`;
}

function cellsOf(row: RowResult): string[] {
  const { name, unit, reference, ratio, isMet, notMeasured, failure } = row;
  const target = row.target === undefined ? "" : describeTarget(row.target, unit);
  if (row.value === undefined) {
    const reason = failure === undefined ? `not measured: ${notMeasured ?? ""}` : `failed: ${failure}`;
    return [name, "", reason, "", target, ""];
  }
  return [
    name,
    describeSide(row, unit),
    reference === undefined ? "" : `${reference.name}\n${describeSide(reference, unit)}`,
    ratio === undefined ? "" : ratio.toFixed(2),
    target,
    isMet === undefined ? "" : isMet ? "yes" : "no",
  ];
}

function describeSide(side: Partial<RowResult>, unit: RowResult["unit"]): string {
  const { value = NaN, p95, p99, clientMicros, serverMicros } = side;
  const main = formatFigure(value, unit);
  if (p95 !== undefined && p99 !== undefined)
    return `p50 ${main}\np95 ${formatFigure(p95, unit)}\np99 ${formatFigure(p99, unit)}`;
  if (clientMicros === undefined || serverMicros === undefined) return main;
  return `${main}\nclients ${formatFigure(clientMicros, "µs")}\nserver ${formatFigure(serverMicros, "µs")}`;
}

function describeTarget({ of, atMost, atLeast }: Target, unit: RowResult["unit"]): string {
  const describe = (limit: number): string => (of === "ratio" ? `${limit} ×` : formatFigure(limit, unit));
  return atMost === undefined ? `≥ ${describe(atLeast ?? NaN)}` : `≤ ${describe(atMost)}`;
}
