// Parts of statements. Names are qualified, and operators have the very types that they exist for, so that no
// search_path matters, not even a pooler's leftover: Postgres has to convert for `numeric * integer`, and would prefer
// an operator of just these types that another role has created.

/**
 * A time in microseconds since 1970, as text; null if it is infinite. Exact until 2106, when a double of seconds
 * becomes too coarse. `extract`, which returns a numeric, took 0.2 of the 2.5 µs in which the server reads a result.
 */
export const microsOf = (time: string): string =>
  `(case when pg_catalog.isfinite(${time}) then pg_catalog.date_part('epoch', ${time}) operator(pg_catalog.*) 1000000::double precision end)::bigint::pg_catalog.text`;

/**
 * A condition that is always true and changes settings for the triggers and the commit of this statement. They end with
 * the transaction. As a condition on the first row it runs once, before the first row is written, and costs 5 µs. A
 * materialized `with` cost 25 µs more for one row.
 */
export function onFirstRow(settings: readonly string[]): string {
  return settings.length === 0
    ? ""
    : `where place operator(pg_catalog.>) 1 or pg_catalog.concat(${settings.join(", ")}) is not null`;
}

/**
 * A condition that fails the statement from the time of a parameter on, in seconds since 1970, when its client has
 * given up. Evaluated before the first row is written and again after the last one, since the statement may have waited
 * for row locks.
 */
export const isInTime = (schema: string, parameter: string): string =>
  `case when pg_catalog.clock_timestamp() operator(pg_catalog.<) pg_catalog.to_timestamp(${parameter}::double precision) then true else ${schema}.kojin_late() end`;

/**
 * A condition that a row may be replaced by a call made at a time in seconds since 1970. An infinite or future time of
 * the row does not count as newer, since its clock was wrong.
 */
export const isNotNewer = (storedAt: string, calledAt: string): string =>
  `(${storedAt} operator(pg_catalog.<=) pg_catalog.to_timestamp(${calledAt}) or ${storedAt} operator(pg_catalog.>) pg_catalog.clock_timestamp())`;

/**
 * Converts '' to null. Arrays of parameters contain '' instead of null, since with array_nulls = off a session reads
 * NULL in an array as the text 'NULL'. Neither JSON nor a span is ever ''.
 */
export const nullIfEmpty = (text: string): string => `case when ${text} operator(pg_catalog.<>) '' then ${text} end`;

/** Converts -1, which means no limit in milliseconds, to null. */
export const nullIfNegative = (ms: string): string =>
  `case when ${ms} operator(pg_catalog.>=) 0::double precision then ${ms} end`;

/** Sets a parameter until the transaction ends. `value` is SQL. */
export const setting = (name: string, value: string): string => `pg_catalog.set_config('${name}', ${value}, true)`;

/**
 * The server's time in microseconds since 1970, as text. It is not earlier than the times of the rows that this
 * statement has written, and not later than those of rows that replace them.
 */
export const writtenBy = microsOf("pg_catalog.clock_timestamp()");

/** Most bytes of results that one statement reads, by estimate; a larger result is read by itself. */
export const readBudgetBytes = 1024 * 1024;
/** A value with a larger stored size is read by a separate statement. */
const largeBytes = 16 * 1024;

/**
 * The text of a jsonb column; null if the value is large or its text has more than `maxBytes`, so that such a text is
 * never sent. The value is converted twice: each function and operator takes 0.4 µs of a read's 100 µs, and a subquery
 * would take more.
 */
export function shortText(column: string, maxBytes: number): string {
  const length = `pg_catalog.octet_length(${column}::pg_catalog.text)`;
  return `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.>) ${largeBytes} then null
    when ${length} operator(pg_catalog.<=) ${maxBytes} then ${column}::pg_catalog.text end`;
}

/**
 * The text of a jsonb column, converted only once; null if it has more than `maxBytes`. "offset 0" keeps the planner
 * from inlining the conversion twice.
 */
export const boundedText = (column: string, maxBytes: number): string => `(
    select case when pg_catalog.octet_length(converted.body) operator(pg_catalog.<=) ${maxBytes} then converted.body end
    from (select ${column}::pg_catalog.text as body offset 0) as converted
  )`;

/**
 * A condition that the numbers in a jsonb column have more than `maxBytes` as text. 2 KB as stored can be 1 GB of text,
 * which takes the server 7 s without checking any time limit, and 3 GB of memory. Here the numbers are converted one by
 * one until there are too many bytes. Slower for ordinary values, so it is only used after other statements were too
 * slow.
 */
const hasLongNumbers = (column: string, maxBytes: number): string => `exists (
      select from (
        select pg_catalog.sum(pg_catalog.octet_length(number::pg_catalog.text)) over (rows unbounded preceding) as bytes
        from pg_catalog.jsonb_path_query(${column}, 'strict $.** ? (@.type() == "number")'::pg_catalog.jsonpath) as numbers (number)
      ) as summed
      where summed.bytes operator(pg_catalog.>) ${maxBytes})`;

/** The same as {@link shortText} and {@link boundedText}, but safe for values whose text would exhaust the server. */
export const carefulText = {
  short: (column: string, maxBytes: number): string =>
    `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.>) ${largeBytes} then null
      when ${hasLongNumbers(column, maxBytes)} then null else ${shortText(column, maxBytes)} end`,
  bounded: (column: string, maxBytes: number): string =>
    `case when ${hasLongNumbers(column, maxBytes)} then null else ${boundedText(column, maxBytes)} end`,
};

/**
 * Estimates the bytes of a jsonb column as text without reading it: its stored size or, if it is compressed, eight
 * times that and at least 8 KiB.
 */
export const estimatedBytes = (column: string): string =>
  `coalesce(case when pg_catalog.pg_column_compression(${column}) is null then pg_catalog.pg_column_size(${column})
    else greatest(8192, pg_catalog.pg_column_size(${column}) operator(pg_catalog.*) 8) end, 0)`;

/** A condition that is true for a row of `table` that has not expired. */
export const isPresentIn = (table: string): string =>
  `(${table}.expires_at is null or ${table}.expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())`;

/** A condition that is true for a result that has not expired. */
export const isPresent = "(expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())";
