/** Characters that move the cursor, hide text or end a line. Ids and messages come from others, and may hold them. */
const control = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** The same text on one line, with control characters spelled out. */
export function printable(text: string): string {
  return text.replace(control, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Not longer than `width` characters. */
export function shortened(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`;
}

const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** A size for people: `1.2 MiB`. */
export function inBytes(bytes: number): string {
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${power === 0 ? bytes : (bytes / 1024 ** power).toFixed(1)} ${units[power] ?? ""}`;
}

export const inDigits = (value: number): string => value.toLocaleString("en");

/** Rows under one another, each column as wide as its widest cell. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
