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

/**
 * Whether the numbers of a jsonb column alone have more than `maxBytes` as text: 2 KB as stored can be 1 GB, for whose text the server takes 7 s, in which it hears of no time limit, and 3 GB
 * of memory. Here they are converted one by one, until there are too many bytes. For statements that are sent when others were too slow, as it takes longer than to convert ordinary values.
 */
const hasLongNumbers = (column: string, maxBytes: number): string => `exists (
      select from (
        select pg_catalog.sum(pg_catalog.octet_length(number::pg_catalog.text)) over (rows unbounded preceding) as bytes
        from pg_catalog.jsonb_path_query(${column}, 'strict $.** ? (@.type() == "number")'::pg_catalog.jsonpath) as numbers (number)
      ) as summed
      where summed.bytes operator(pg_catalog.>) ${maxBytes})`;

/** The same as {@link shortText} and {@link boundedText}, safe for values of which the text would take too much of the server. */
export const carefulText = {
  short: (column: string, maxBytes: number): string =>
    `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.>) ${largeBytes} then null
      when ${hasLongNumbers(column, maxBytes)} then null else ${shortText(column, maxBytes)} end`,
  bounded: (column: string, maxBytes: number): string =>
    `case when ${hasLongNumbers(column, maxBytes)} then null else ${boundedText(column, maxBytes)} end`,
};

/** Estimates the bytes of a jsonb column as text, without reading it: as it is stored, or eight times that, and 8 KiB at least, where it is compressed. */
export const estimatedBytes = (column: string): string =>
  `coalesce(case when pg_catalog.pg_column_compression(${column}) is null then pg_catalog.pg_column_size(${column})
    else greatest(8192, pg_catalog.pg_column_size(${column}) operator(pg_catalog.*) 8) end, 0)`;
