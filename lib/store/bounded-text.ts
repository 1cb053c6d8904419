/** Most bytes of results that one statement reads, by estimate; a larger result is read by itself. */
export const readBudgetBytes = 1024 * 1024;
/** A value that takes more bytes as it is stored is read by a statement of its own. */
const largeBytes = 16 * 1024;

/**
 * The text of a jsonb column that is not large; null if it is large, or has more than `maxBytes`, so that such a text never leaves the server. The text is made twice, as
 * each function and operator that is named here takes the server 0.4 µs of the 100 of a read, and a query of its own more.
 */
export function shortText(column: string, maxBytes: number): string {
  const length = `pg_catalog.octet_length(${column}::pg_catalog.text)`;
  return `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.>) ${largeBytes} then null
    when ${length} operator(pg_catalog.<=) ${maxBytes} then ${column}::pg_catalog.text end`;
}

/** The text of a jsonb column, made once; null if it has more than `maxBytes`. "offset 0" keeps the planner from putting the conversion in both places. */
export const boundedText = (column: string, maxBytes: number): string => `(
    select case when pg_catalog.octet_length(converted.body) operator(pg_catalog.<=) ${maxBytes} then converted.body end
    from (select ${column}::pg_catalog.text as body offset 0) as converted
  )`;

/** Estimates the bytes of a jsonb column as text, without reading it: as it is stored, or eight times that, and 8 KiB at least, where it is compressed. */
export const estimatedBytes = (column: string): string =>
  `coalesce(case when pg_catalog.pg_column_compression(${column}) is null then pg_catalog.pg_column_size(${column})
    else greatest(8192, pg_catalog.pg_column_size(${column}) operator(pg_catalog.*) 8) end, 0)`;
