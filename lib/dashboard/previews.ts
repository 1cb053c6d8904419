import { carefulText } from "../results/expressions";

const maxLength = 300;
/** A value whose text is longer is not previewed. */
const maxTextBytes = 64 * 1024;

/** The beginning of the text of a jsonb column; null if it is large. */
export const preview = (column: string): string =>
  `pg_catalog.left(${carefulText.short(column, maxTextBytes)}, ${maxLength + 1})`;

/** Name and message of a failure in a jsonb column; null if it is large. */
export const failureSummary = (column: string): string =>
  `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.<=) 16384 then pg_catalog.left(
    pg_catalog.concat_ws(': ', ${column} operator(pg_catalog.->>) 'name', ${column} operator(pg_catalog.->>) 'message'),
    ${maxLength + 1}
  ) end`;

/** Cuts a preview between two characters, not within a surrogate pair. */
export function shorten(text: string): string {
  const start = text.slice(0, maxLength);
  return start.length === text.length ? text : `${start.toWellFormed().replace(/\uFFFD$/, "")}…`;
}
