/**
 * A time in microseconds since 1970, as text; null for one that is infinite. Exact until 2106, when doubles of seconds get too coarse for it; `extract`, which gives a numeric,
 * took 0.2 of the 2.5 µs for which the server reads a result.
 */
export const microsOf = (time: string): string =>
  `(case when pg_catalog.isfinite(${time}) then pg_catalog.date_part('epoch', ${time}) operator(pg_catalog.*) 1000000::double precision end)::bigint::pg_catalog.text`;

/**
 * A condition that is always true, its parameter being `true`, and keeps a prepared statement from being planned once for all: made while the table is almost empty, such a
 * plan reads all of it, and would go on doing so when it is full. With the parameter's value known the planner drops the condition, and without it the condition
 * looks dear, so the server plans anew each time (PostgreSQL docs, PREPARE: a generic plan has to look as cheap as the others), and saves the parsing all the same.
 */
export const plannedAnew = (parameter: string): string =>
  `(${parameter}::boolean or (select pg_catalog.count(*) from pg_catalog.generate_series(1, 100000000)) operator(pg_catalog.>) 0)`;

/**
 * A condition that is always true and makes settings for this statement's triggers and commit alone: they end with the transaction. On the first row, so they are
 * made once, and before the first row is written. (A materialized `with` to the same end cost 25 µs more for one row, and this costs 5.)
 */
export function onFirstRow(settings: readonly string[]): string {
  return settings.length === 0
    ? ""
    : `where place operator(pg_catalog.>) 1 or pg_catalog.concat(${settings.join(", ")}) is not null`;
}

/**
 * A condition that is true until the time of a parameter, in seconds since 1970, and fails from then on: the client has given the statement up, and it is to change nothing.
 * To be asked before the first row is written, and again after the last one: a row's lock may have been waited for.
 */
export const isInTime = (schema: string, parameter: string): string =>
  `case when pg_catalog.clock_timestamp() operator(pg_catalog.<) pg_catalog.to_timestamp(${parameter}::double precision) then true else ${schema}.kojin_late() end`;

/** A condition on a row that may be replaced by a call made at a time in seconds since 1970. A time that is infinite or in the future does not count as newer: the clock was wrong. */
export const isNotNewer = (storedAt: string, calledAt: string): string =>
  `(${storedAt} operator(pg_catalog.<=) pg_catalog.to_timestamp(${calledAt}) or ${storedAt} operator(pg_catalog.>) pg_catalog.clock_timestamp())`;

/**
 * Null for the '' that stands for it in arrays of parameters: with array_nulls = off, a session reads NULL in an array as the text 'NULL'. Neither JSON nor a span is ever ''.
 * A null stays null.
 */
export const nullIfEmpty = (text: string): string => `case when ${text} operator(pg_catalog.<>) '' then ${text} end`;

/** The same for the -1 that stands for no limit in milliseconds. */
export const nullIfNegative = (ms: string): string =>
  `case when ${ms} operator(pg_catalog.>=) 0::double precision then ${ms} end`;

/** Sets a parameter until the transaction ends. `value` is SQL. */
export const setting = (name: string, value: string): string => `pg_catalog.set_config('${name}', ${value}, true)`;

/** The server's time in microseconds since 1970, as text: that of a row which this statement has written is not later, and that of one which replaces it is not earlier. */
export const writtenBy = microsOf("pg_catalog.clock_timestamp()");
