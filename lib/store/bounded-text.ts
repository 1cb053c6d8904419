/** Most bytes of results that one statement reads, by estimate; a larger result is read by itself. */
export const readBudgetBytes = 1024 * 1024;
/**
 * jsonb stores a number in base 10000 without zeros at its end, so `1e131071` takes 16 bytes with its entry, and 131 072 as text. An uncompressed value becomes 8 192 times as large
 * at the most.
 */
const largestGrowth = 8_192;
/** Node refuses strings of more characters, with an error that ends the process (V8, `String::kMaxLength`). */
const longestString = 0x1fffffe8;
/** As jsonb adds a space after each comma and each colon, `[1,1]` is half as long again. */
const spacesOfJsonb = 1.5;

/** The longest text of a result, or of a failure, that is read: a result of `maxResultBytes`, as jsonb writes it. */
export const maxTextBytes = (maxResultBytes: number): number =>
  Math.min(Math.floor(maxResultBytes * spacesOfJsonb), longestString);

/**
 * The text of a jsonb column; null if it has more than `maxBytes`, so that such a text never leaves the server. Made once for each row. A value that is too small to be that long
 * is not measured: that would take as long as a read of the row by its key.
 */
export function boundedText(column: string, maxBytes: number): string {
  const isSurelyShort = `pg_catalog.pg_column_size(${column}) operator(pg_catalog.<=) ${Math.floor(maxBytes / largestGrowth)}
    and pg_catalog.pg_column_compression(${column}) is null`;
  // "offset 0" keeps the planner from putting the conversion in both places.
  return `case when ${column} is null then null when ${isSurelyShort} then ${column}::pg_catalog.text else (
    select case when pg_catalog.octet_length(converted.body) operator(pg_catalog.<=) ${maxBytes} then converted.body end
    from (select ${column}::pg_catalog.text as body offset 0) as converted
  ) end`;
}

/** Estimates the bytes of a jsonb column as text, without reading it: as it is stored, or eight times that, and 8 KiB at least, where it is compressed. */
export const estimatedBytes = (column: string): string =>
  `coalesce(case when pg_catalog.pg_column_compression(${column}) is null then pg_catalog.pg_column_size(${column})
    else greatest(8192, pg_catalog.pg_column_size(${column}) operator(pg_catalog.*) 8) end, 0)`;
