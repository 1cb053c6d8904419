import type { BenchResult, RowResult } from "./result";
import { createTable, formatFigure } from "./table";

/** Rows in which a higher figure is better. */
const isRate = ({ unit }: RowResult): boolean => unit === "/s";

/** A row that both runs have measured. */
interface Change {
  readonly row: RowResult;
  readonly earlier: number;
  readonly later: number;
  /** Larger than the spread of either run. */
  readonly isBeyondSpread: boolean;
}

/** Shows the rows of an earlier run beside those of a later one, and lists the rows that cannot be compared. */
export function describeComparison(earlier: BenchResult, later: BenchResult): string {
  const earlierRows = new Map(earlier.rows.map((row) => [row.name, row]));
  const laterNames = new Set(later.rows.map(({ name }) => name));
  const changes: Change[] = [];
  const others: string[] = [];
  for (const row of later.rows) {
    const compared = compare(earlierRows.get(row.name), row);
    if (typeof compared === "string") others.push(`${row.name}: ${compared}`);
    else changes.push(compared);
  }
  for (const { name } of earlier.rows) if (!laterNames.has(name)) others.push(`${name}: only in the earlier run`);
  const table = createTable(
    [
      ["", 62, "left"],
      ["earlier", 14, "right"],
      ["now", 14, "right"],
      ["change", 10, "right"],
      ["beyond spread", 15, "left"],
    ],
    changes.map(cellsOf),
  );
  const notCompared = others.length === 0 ? [] : ["Not compared:", ...others.map((line) => `  ${line}`)];
  return [table, ...notCompared, `earlier: ${describeRun(earlier)}`, `now:     ${describeRun(later)}`].join("\n");
}

/** Describes the machine and the size of a run in one line. */
export function describeRun({ machine, rounds, isQuick }: BenchResult): string {
  const { node, postgres, system, processor, cores, fdatasyncMs } = machine;
  const disk = `fdatasync ${fdatasyncMs.toFixed(2)} ms`;
  const size = `${rounds} rounds${isQuick ? " (quick)" : ""}`;
  return [`Node ${node}`, `Postgres ${postgres}`, system, `${cores} × ${processor}`, disk, size].join(", ");
}

/** Gives the change of a row's ratio, or of its figure if it has no reference, or says why there is none. */
function compare(before: RowResult | undefined, row: RowResult): Change | string {
  if (before === undefined) return "only in this run";
  if (before.value === undefined) return "not measured in the earlier run";
  if (row.value === undefined) return "not measured in this run";
  if (before.reference?.name !== row.reference?.name)
    return `the earlier reference was ${before.reference?.name ?? "absent"}`;
  const [earlier, later] = [before.ratio ?? before.value, row.ratio ?? row.value];
  const spread = Math.max(before.spread ?? 0, row.spread ?? 0);
  return { row, earlier, later, isBeyondSpread: Math.abs(later - earlier) > spread };
}

function cellsOf({ row, earlier, later, isBeyondSpread }: Change): string[] {
  const format = (figure: number): string =>
    row.ratio === undefined ? formatFigure(figure, row.unit) : figure.toFixed(2);
  const percent = earlier === later ? 0 : 100 * (later / earlier - 1);
  const change = Number.isFinite(percent) ? `${percent > 0 ? "+" : ""}${percent.toFixed(1)} %` : "–";
  const isBetter = later > earlier === isRate(row);
  return [row.name, format(earlier), format(later), change, isBeyondSpread ? (isBetter ? "better" : "worse") : ""];
}
