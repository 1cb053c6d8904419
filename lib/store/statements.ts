import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";
import { notifyQueueUsageText } from "../database/send-notification";

/** How long something that only notifies may wait for the notification lock. */
const notifyLockTimeoutMs = 2_000;

/**
 * The SQL that runs on results, made once for a schema. Names are qualified, and operators have the very types that they exist for, so that no search_path matters, not
 * even a pooler's leftover: `numeric * integer` would be anybody's who may create an operator there, since Postgres has to convert for its own.
 */
export interface ResultStatements {
  readonly read: string;
  readonly delete: string;
  readonly storedSince: string;
  readonly clock: string;
  readonly announce: string;
  readonly prune: string;
  readonly notifyQueueUsage: string;
}

export function resultStatements(schema: string, isObserved = false): ResultStatements {
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  return {
    // Results of tasks. $1 text[] ids; $2 boolean true. Returns those that are there and not expired, with a flag for those stored more than a second ago: a
    // listener that hears would have told of them; for telemetry also with the span that stored them, and their age.
    read: `
      select task_id, result::text, error::text, ${microsOf("stored_at")},
        stored_at < statement_timestamp() - interval '1 second'${
          isObserved
            ? ", trace_context, (extract(epoch from clock_timestamp() - stored_at) * 1000::numeric)::float8"
            : ""
        }
      from ${results}
      where ${plannedAnew("$2")} and task_id = any($1::text[]) and (expires_at is null or expires_at > statement_timestamp())`,

    // $1 text id. Returns a row if there was one to be seen; one that had expired is deleted and not counted.
    delete: `
      with deleted as (delete from ${results} where task_id = $1::text returning expires_at)
      select true from deleted where expires_at is null or expires_at > statement_timestamp()`,

    // A page of what was stored since a time, oldest first. $1 float8 microseconds since 1970 and $2 text id: where the page before it ended; $3 int rows.
    storedSince: `
      select task_id, ${microsOf("stored_at")}
      from ${results}
      where (stored_at, task_id) > (timestamptz 'epoch' + $1::float8 * interval '1 microsecond', $2::text)
        and (expires_at is null or expires_at > statement_timestamp())
      order by stored_at, task_id
      limit $3::int`,

    // The server's time in microseconds since 1970.
    clock: `select ${microsOf("clock_timestamp()")}`,

    // $1 text channel, $2 text[] payloads. Only notifies, so its commit waits for no disk.
    announce: `
      select pg_catalog.pg_notify($1::text, payload)
      from unnest($2::text[]) with ordinality as batch (payload, place)
      ${onFirstRow([lockTimeoutSetting(notifyLockTimeoutMs)])}`,

    // Deletes expired rows. $1 int rows at the most; $2 float8 ms since they expired. Rows that another session has locked are left to it. Returns a row for each.
    prune: `
      delete from ${results}
      where task_id in (
        select task_id from ${results}
        where expires_at <= statement_timestamp() - $2::float8 * interval '1 millisecond'
        order by expires_at
        limit $1::int
        for update skip locked
      )
      returning true`,

    notifyQueueUsage: notifyQueueUsageText,
  };
}

/**
 * A time in microseconds since 1970, as text. Exact until 2106, when doubles of seconds get too coarse for it; `extract`, which gives a numeric, took 0.2 of
 * the 2.5 µs for which the server reads a result.
 */
export const microsOf = (time: string): string =>
  `(pg_catalog.date_part('epoch', ${time}) * 1000000::float8)::bigint::text`;

/**
 * A condition that is always true, its parameter being `true`, and keeps a prepared statement from being planned once for all: made while the table is almost empty, such a
 * plan reads all of it, and would go on doing so when it is full. With the parameter's value known the planner drops the condition, and without it the condition
 * looks dear, so the server plans anew each time (PostgreSQL docs, PREPARE: a generic plan has to look as cheap as the others), and saves the parsing all the same.
 */
const plannedAnew = (parameter: string): string =>
  `(${parameter}::boolean or (select count(*) from generate_series(1, 100000000)) > 0)`;

export interface StoreVariant {
  /** Whether a result that is there stays. */
  readonly keep: boolean;
  /** Whether the trigger stands down, since the writer announces the rows itself. */
  readonly silent: boolean;
  /** Whether rows come with the span that stores them, as $5 text[]. */
  readonly traced: boolean;
  /** Up to how many bytes a result may travel in the announcement. */
  readonly inlineBytes: number;
  /** Longest wait for a lock; undefined where the transaction is the caller's. */
  readonly lockTimeoutMs: number | undefined;
}

// Stores a batch. $1 text[] ids, $2 text[] results and $3 text[] failures as JSON text, $4 float8[] ms to live or null. The caller has merged repeated ids
// (one statement may not update a row twice, SQLSTATE 21000) and sorted them (two batches in opposite orders would deadlock).
export function storeStatement(schema: string, variant: StoreVariant): string {
  // None where none is needed: in a caller's transaction they would override the caller's own.
  const settings = [
    ...(variant.lockTimeoutMs === undefined ? [] : [lockTimeoutSetting(variant.lockTimeoutMs)]),
    ...(variant.silent ? ["set_config('kojin.notify', 'off', true)"] : []),
    ...(variant.inlineBytes > 0 && !variant.silent
      ? [`set_config('kojin.inline_bytes', '${variant.inlineBytes}', true)`]
      : []),
  ];
  return `
    insert into ${escapeIdentifier(schema)}.kojin_results as stored (task_id, result, error, stored_at, expires_at${variant.traced ? ", trace_context" : ""})
    select task_id, result::jsonb, error::jsonb, clock_timestamp(), statement_timestamp() + ttl_ms * interval '1 millisecond'${
      variant.traced ? ", trace_context" : ""
    }
    from unnest($1::text[], $2::text[], $3::text[], $4::float8[]${variant.traced ? ", $5::text[]" : ""})
      with ordinality as batch (task_id, result, error, ttl_ms, ${variant.traced ? "trace_context, " : ""}place)
    ${onFirstRow(settings)}
    on conflict (task_id) do update
      set result = excluded.result, error = excluded.error, stored_at = excluded.stored_at, expires_at = excluded.expires_at,
        trace_context = ${variant.traced ? "excluded.trace_context" : "null"}
      where ${
        // An expired row counts as absent.
        variant.keep ? "stored.expires_at <= statement_timestamp()" : "true"
      }`;
}

/**
 * A condition that is always true and makes settings for this statement's triggers and commit alone: they end with the transaction. On the first row, so they are
 * made once, and before the first row is written. (A materialized `with` to the same end cost 25 µs more for one row, and this costs 5.)
 */
function onFirstRow(settings: readonly string[]): string {
  return settings.length === 0 ? "" : `where place > 1 or concat(${settings.join(", ")}) is not null`;
}
