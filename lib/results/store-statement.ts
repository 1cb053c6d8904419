import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";
import { channelOf } from "../notifications/payload";
import {
  isInTime,
  isNotNewer,
  loudTriggers,
  microsOf,
  nullIfEmpty,
  nullIfNegative,
  onFirstRow,
  writtenBy,
} from "./expressions";

/**
 * Who announces what a statement stores. `triggers`: they do, as for every other writer. `statement`: it does so itself, in the same transaction, while the triggers stand
 * down; that takes 0.05 of the 0.2 ms off which the server needs for one row, and a twelfth off its time for many. `inline`: the same of one row, with its result. `nobody`: the writer
 * does so afterwards.
 */
type AnnouncedBy = "triggers" | "statement" | "inline" | "nobody";

export interface StoreVariant {
  /** Whether a result that is there stays. Then the statement cannot know what to announce, but the triggers can. */
  readonly keep: boolean;
  readonly announcedBy: AnnouncedBy;
  /** Whether a result stays that was stored after the call, whose time comes with the row. Not with `keep`, nor where the statement announces. */
  readonly guarded: boolean;
  /** Whether rows come with the span that stores them. */
  readonly traced: boolean;
  /** Up to how many bytes a result may travel in the announcement of the triggers. */
  readonly inlineBytes: number;
  /** Longest wait for a lock; undefined where the transaction is the caller's, which also decides until when the statement may write. */
  readonly lockTimeoutMs: number | undefined;
}

/** The two forms of a statement that stores. */
export interface StoreTexts {
  /**
   * Stores a batch. Parameters, each an array without nulls (see {@link nullIfEmpty}): text ids, text results and text failures as JSON or '', float8 ms to live or -1, where they are traced text spans or ''; then, in a transaction of
   * its own, the server's time from which it may not write; where they are guarded, a JSON object of the server's times of the calls by id; and for `statement` an array of text payloads. The caller has merged repeated ids (one statement may not update a row twice, SQLSTATE 21000) and sorted them (two batches in opposite orders would deadlock).
   */
  readonly many: string;
  /** Stores one row, from the same parameters without the arrays, where absent values may be null: to take them apart takes the server 0.03 ms. For `inline`, a payload up to the time and the rest of it. */
  readonly one: string;
}

const columns = ["task_id", "result", "error", "ttl_ms", "trace_context"];
const types = ["pg_catalog.text", "pg_catalog.text", "pg_catalog.text", "double precision", "pg_catalog.text"];

export function storeStatement(schema: string, variant: StoreVariant): StoreTexts {
  const count = variant.traced ? 5 : 4;
  const parameters = types.slice(0, count).map((type, index) => `$${index + 1}::${type}`);
  const names = columns.slice(0, count);
  const arrays = parameters.map((parameter) => `pg_catalog.unnest(${parameter}[])`).join(", ");
  const row = parameters.map((parameter, index) => `${parameter} as ${names[index] ?? ""}`).join(", ");
  const channel = channelOf(schema);
  const fence = `$${count + 1}`;
  const [first, second] = [`$${count + 2}::pg_catalog.text`, `$${count + 3}::pg_catalog.text`];
  const payload =
    variant.announcedBy === "inline"
      ? `${first} operator(pg_catalog.||) ${storedWhen} operator(pg_catalog.||) ${second}`
      : first;
  // By id, since only columns of the row can be named where it conflicts.
  const calledAt = {
    many: `($${count + 2}::pg_catalog.jsonb operator(pg_catalog.->>) stored.task_id::pg_catalog.text)::double precision`,
    one: `$${count + 2}::double precision`,
  };
  const inTime = variant.lockTimeoutMs === undefined ? undefined : isInTime(escapeIdentifier(schema), fence);
  const many = storeFrom(
    `rows from (${arrays}) with ordinality as batch (${names.join(", ")}, place)`,
    `(select pg_catalog.count(pg_catalog.pg_notify('${channel}', payload)) from pg_catalog.unnest(${first}[]) as payload)`,
    schema,
    variant,
    inTime,
    calledAt.many,
  );
  const one = storeFrom(
    `(select ${row}, 1 as place) as batch`,
    `pg_catalog.pg_notify('${channel}', ${payload})`,
    schema,
    variant,
    inTime,
    calledAt.one,
  );
  if (inTime === undefined) return { many, one };
  return {
    // Once for all rows, and not a row back for each of them.
    many: `
    with written as (${many} returning task_id)
    select ${inTime}, ${writtenBy}, ids from (select ${
      variant.guarded ? "pg_catalog.json_agg(task_id)::pg_catalog.text" : "pg_catalog.count(*)"
    } as ids from written) as counted`,
    one: `${one} returning ${inTime}, ${writtenBy}`,
  };
}

/** Time and transaction of an inline result: the same for the row and for the payload, which is made before it. */
const storedWhen = `${microsOf("pg_catalog.statement_timestamp()")} operator(pg_catalog.||) ',' operator(pg_catalog.||) pg_catalog.pg_current_xact_id()::pg_catalog.text`;

function storeFrom(
  source: string,
  notify: string,
  schema: string,
  variant: StoreVariant,
  inTime: string | undefined,
  calledAt: string,
): string {
  const { announcedBy, guarded, traced, inlineBytes, lockTimeoutMs } = variant;
  const bySelf = announcedBy === "statement" || announcedBy === "inline";
  const settings = [
    ...(inTime === undefined ? [] : [inTime]),
    // None where none is needed: in a caller's transaction they would override the caller's own.
    ...(lockTimeoutMs === undefined ? [] : [lockTimeoutSetting(lockTimeoutMs)]),
    // Not 'off' for what announces itself: what triggers of others do to groups, in the same transaction, is still announced.
    ...(announcedBy === "triggers"
      ? loudTriggers(lockTimeoutMs !== undefined)
      : [`pg_catalog.set_config('kojin.notify', '${bySelf ? "statement" : "off"}', true)`]),
    ...(announcedBy === "triggers" && inlineBytes > 0
      ? [`pg_catalog.set_config('kojin.inline_bytes', '${inlineBytes}', true)`]
      : []),
    ...(bySelf ? [notify] : []),
  ];
  const [traceColumn, traceContext] = traced ? [", trace_context", `, ${nullIfEmpty("trace_context")}`] : ["", ""];
  const storedAt = announcedBy === "inline" ? "pg_catalog.statement_timestamp()" : "pg_catalog.clock_timestamp()";
  return `
    insert into ${escapeIdentifier(schema)}.kojin_results as stored (task_id, result, error, stored_at, expires_at${traceColumn})
    select task_id, result::pg_catalog.jsonb, ${nullIfEmpty("error")}::pg_catalog.jsonb, ${storedAt},
      pg_catalog.statement_timestamp() operator(pg_catalog.+) (${nullIfNegative("ttl_ms")} operator(pg_catalog.*) interval '1 millisecond')${traceContext}
    from ${source}
    ${onFirstRow(settings)}
    on conflict (task_id) do update
      set result = excluded.result, error = excluded.error, stored_at = ${announcedBy === "inline" ? "excluded.stored_at" : storedAt}, stored_xid = pg_catalog.pg_current_xact_id(), expires_at = excluded.expires_at,
        trace_context = ${traced ? "excluded.trace_context" : "null"}
      where ${
        // An expired row counts as absent.
        variant.keep
          ? "stored.expires_at operator(pg_catalog.<=) pg_catalog.statement_timestamp()"
          : guarded
            ? isNotNewer("stored.stored_at", calledAt)
            : "true"
      }`;
}
