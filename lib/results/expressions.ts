// Parts of statements. Names are qualified, and operators have the very types that they exist for, so that no
// search_path matters, not even a pooler's leftover: Postgres has to convert for `numeric * integer`, and would prefer
// an operator of just these types that another role has created.

/**
 * A time in microseconds since 1970, as text; null for one that is infinite. Exact until 2106, when doubles of seconds
 * get too coarse for it; `extract`, which gives a numeric, took 0.2 of the 2.5 µs for which the server reads a result.
 */
export const microsOf = (time: string): string =>
  `(case when pg_catalog.isfinite(${time}) then pg_catalog.date_part('epoch', ${time}) operator(pg_catalog.*) 1000000::double precision end)::bigint::pg_catalog.text`;

/**
 * A condition that is always true and makes settings for this statement's triggers and commit alone: they end with the
 * transaction. On the first row, so they are made once, and before the first row is written. (A materialized `with` to
 * the same end cost 25 µs more for one row, and this costs 5.)
 */
export function onFirstRow(settings: readonly string[]): string {
  return settings.length === 0
    ? ""
    : `where place operator(pg_catalog.>) 1 or pg_catalog.concat(${settings.join(", ")}) is not null`;
}

/**
 * A condition that is true until the time of a parameter, in seconds since 1970, and fails from then on: the client has
 * given the statement up, and it is to change nothing. To be asked before the first row is written, and again after the
 * last one: a row's lock may have been waited for.
 */
export const isInTime = (schema: string, parameter: string): string =>
  `case when pg_catalog.clock_timestamp() operator(pg_catalog.<) pg_catalog.to_timestamp(${parameter}::double precision) then true else ${schema}.kojin_late() end`;

/**
 * A condition on a row that may be replaced by a call made at a time in seconds since 1970. A time that is infinite or
 * in the future does not count as newer: the clock was wrong.
 */
export const isNotNewer = (storedAt: string, calledAt: string): string =>
  `(${storedAt} operator(pg_catalog.<=) pg_catalog.to_timestamp(${calledAt}) or ${storedAt} operator(pg_catalog.>) pg_catalog.clock_timestamp())`;

/**
 * Null for the '' that stands for it in arrays of parameters: with array_nulls = off, a session reads NULL in an array
 * as the text 'NULL'. Neither JSON nor a span is ever ''. A null stays null.
 */
export const nullIfEmpty = (text: string): string => `case when ${text} operator(pg_catalog.<>) '' then ${text} end`;

/** The same for the -1 that stands for no limit in milliseconds. */
export const nullIfNegative = (ms: string): string =>
  `case when ${ms} operator(pg_catalog.>=) 0::double precision then ${ms} end`;

/** Sets a parameter until the transaction ends. `value` is SQL. */
export const setting = (name: string, value: string): string => `pg_catalog.set_config('${name}', ${value}, true)`;

/**
 * The server's time in microseconds since 1970, as text: that of a row which this statement has written is not later,
 * and that of one which replaces it is not earlier.
 */
export const writtenBy = microsOf("pg_catalog.clock_timestamp()");

/** Most bytes of results that one statement reads, by estimate; a larger result is read by itself. */
export const readBudgetBytes = 1024 * 1024;
/** A value that takes more bytes as it is stored is read by a statement of its own. */
const largeBytes = 16 * 1024;

/**
 * The text of a jsonb column that is not large; null if it is large, or has more than `maxBytes`, so that such a text
 * never leaves the server. The text is made twice, as each function and operator that is named here takes the server
 * 0.4 µs of the 100 of a read, and a query of its own more.
 */
export function shortText(column: string, maxBytes: number): string {
  const length = `pg_catalog.octet_length(${column}::pg_catalog.text)`;
  return `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.>) ${largeBytes} then null
    when ${length} operator(pg_catalog.<=) ${maxBytes} then ${column}::pg_catalog.text end`;
}

/**
 * The text of a jsonb column, made once; null if it has more than `maxBytes`. "offset 0" keeps the planner from putting
 * the conversion in both places.
 */
export const boundedText = (column: string, maxBytes: number): string => `(
    select case when pg_catalog.octet_length(converted.body) operator(pg_catalog.<=) ${maxBytes} then converted.body end
    from (select ${column}::pg_catalog.text as body offset 0) as converted
  )`;

/**
 * Whether the numbers of a jsonb column alone have more than `maxBytes` as text: 2 KB as stored can be 1 GB, for whose
 * text the server takes 7 s, in which it hears of no time limit, and 3 GB of memory. Here they are converted one by
 * one, until there are too many bytes. For statements that are sent when others were too slow, as it takes longer than
 * to convert ordinary values.
 */
const hasLongNumbers = (column: string, maxBytes: number): string => `exists (
      select from (
        select pg_catalog.sum(pg_catalog.octet_length(number::pg_catalog.text)) over (rows unbounded preceding) as bytes
        from pg_catalog.jsonb_path_query(${column}, 'strict $.** ? (@.type() == "number")'::pg_catalog.jsonpath) as numbers (number)
      ) as summed
      where summed.bytes operator(pg_catalog.>) ${maxBytes})`;

/**
 * The same as {@link shortText} and {@link boundedText}, safe for values of which the text would take too much of the
 * server.
 */
export const carefulText = {
  short: (column: string, maxBytes: number): string =>
    `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.>) ${largeBytes} then null
      when ${hasLongNumbers(column, maxBytes)} then null else ${shortText(column, maxBytes)} end`,
  bounded: (column: string, maxBytes: number): string =>
    `case when ${hasLongNumbers(column, maxBytes)} then null else ${boundedText(column, maxBytes)} end`,
};

/**
 * Estimates the bytes of a jsonb column as text, without reading it: as it is stored, or eight times that, and 8 KiB at
 * least, where it is compressed.
 */
export const estimatedBytes = (column: string): string =>
  `coalesce(case when pg_catalog.pg_column_compression(${column}) is null then pg_catalog.pg_column_size(${column})
    else greatest(8192, pg_catalog.pg_column_size(${column}) operator(pg_catalog.*) 8) end, 0)`;

/** A condition that is true for a result that has not expired. */
export const isPresent = "(expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())";
