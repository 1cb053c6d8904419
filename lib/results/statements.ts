import { escapeIdentifier, escapeLiteral } from "pg";
import { lockTimeoutSetting, notifyQueueUsageText } from "../database/database";
import { maxTextBytes } from "../value/encoding";
import { boundedText, carefulText, estimatedBytes, readBudgetBytes, shortText } from "./bounded-text";
import { type CommitStatements, commitStatements } from "./commit-statements";
import { isInTime, isNotNewer, microsOf, onFirstRow, plannedAnew } from "./expressions";

/** 32 pages, with a thousand rows or so: to read all of them looks six times as dear to the server as to go by the key (52 against 8.3, by its default costs). */
const largeTableBytes = 32 * 8_192;

/** How long something that only notifies may wait for the notification lock. */
const notifyLockTimeoutMs = 2_000;

/**
 * The SQL that runs on results, made once for a schema. Names are qualified, and operators have the very types that they exist for, so that no search_path matters, not
 * even a pooler's leftover: `numeric * integer` would be anybody's who may create an operator there, since Postgres has to convert for its own.
 */
export interface ResultStatements {
  /** Reads many results, of which it sends about a megabyte. */
  readonly readMany: string;
  /** Reads one result, unless it is large; also says whether the table is large. */
  readonly readOneWithSize: string;
  /** The same, planned once for a session: for a table that is large then. The same number gives the same text, another one a plan of its own. */
  readonly readOne: (planNumber: number) => string;
  /** Reads one result, however large. */
  readonly readLarge: string;
  /** The same as `readMany` and `readLarge`, for results that may take too much of the server. */
  readonly careful: { readonly readMany: string; readonly readLarge: string };
  readonly delete: string;
  readonly commits: CommitStatements;
  readonly announce: string;
  readonly prune: string;
  readonly notifyQueueUsage: string;
}

export interface ResultStatementOptions {
  readonly schema: string;
  readonly maxResultBytes: number;
}

export function resultStatements(options: ResultStatementOptions, isObserved = false): ResultStatements {
  const { schema, maxResultBytes } = options;
  const maxBytes = maxTextBytes(maxResultBytes);
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  const isThere = "(expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())";
  // A query of its own within the other: it runs once, and not for each row, of which it would take as long as all the rest (13 instead of 9 µs for a result, stored and read).
  const isLargeTable = `(select pg_catalog.pg_relation_size(${escapeLiteral(results)}::pg_catalog.regclass) operator(pg_catalog.>=) ${largeTableBytes})`;
  // Those that are there and not expired, with a flag for those stored more than a second ago: a listener that hears would have told of them; for telemetry also with the span
  // that stored them, and their age.
  const row = (size: string, result: string, error: string, isUnsent: string): string => `
      select task_id, ${result}, ${error},
        ${microsOf("stored_at")}, stored_at operator(pg_catalog.<) (pg_catalog.statement_timestamp() operator(pg_catalog.-) interval '1 second'),
        ${size}, stored_xid::pg_catalog.text, error is not null, ${isUnsent}${
          isObserved
            ? ", trace_context, (extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) stored_at) operator(pg_catalog.*) 1000::numeric)::double precision"
            : ""
        }`;
  const one = (size: string): string => row(size, shortText("result", maxBytes), shortText("error", maxBytes), "false");
  const hasNoRoom = `bytes_before operator(pg_catalog.>=) ${readBudgetBytes}`;
  const byIds = `${plannedAnew("$2")} and task_id operator(pg_catalog.=) any($1::pg_catalog.text[]) and ${isThere}`;
  const byId = `task_id operator(pg_catalog.=) $1::pg_catalog.text and ${isThere}`;
  const many = (textOf: typeof shortText): string => {
    const inBudget = (column: string): string =>
      `case when not ${hasNoRoom} then ${textOf(column, readBudgetBytes)} end`;
    return `${row(isLargeTable, inBudget("result"), inBudget("error"), hasNoRoom)}
      from (
        select measured.*, pg_catalog.sum(bytes) over (rows unbounded preceding) operator(pg_catalog.-) bytes as bytes_before
        from (
          select *, (${estimatedBytes("result")} operator(pg_catalog.+) ${estimatedBytes("error")})::bigint as bytes from ${results} where ${byIds}
        ) as measured
      ) as summed`;
  };
  const large = (textOf: typeof boundedText): string =>
    `${row("null::boolean", textOf("result", maxBytes), textOf("error", maxBytes), "false")} from ${results} where ${byId}`;
  return {
    // $1 text[] ids; $2 boolean true. Where a text is missing it has to be read again: with others if the row says so, for which there was no room, and else by itself.
    readMany: many(shortText),
    // $1 text[] ids, of which there is one; $2 boolean true. Where a text is missing it is large, or too long.
    readOneWithSize: `${one(isLargeTable)} from ${results} where ${byIds}`,
    // $1 text id.
    readOne: (planNumber) => `${one("null::boolean")} from ${results} where ${byId} /* plan ${planNumber} */`,
    // $1 text id. Where a text is missing it is too long.
    readLarge: large(boundedText),
    careful: { readMany: many(carefulText.short), readLarge: large(carefulText.bounded) },

    // $1 text id, $2 float8 the server's time from which it may not delete, $3 float8 the time after which a result was stored that stays, or null. Returns a row if there was one to be
    // seen; one that had expired is deleted and not counted.
    delete: `
      with deleted as (
        delete from ${results}
        where task_id operator(pg_catalog.=) $1::pg_catalog.text and ($3::double precision is null or ${isNotNewer("stored_at", "$3::double precision")})
        returning expires_at, ${isInTime(escapeIdentifier(schema), "$2")} as in_time
      )
      select true from deleted where in_time and (expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())`,

    commits: commitStatements({
      table: results,
      key: "task_id",
      xid: "stored_xid",
      time: "stored_at",
      isThere: "(expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())",
    }),

    // $1 text channel, $2 text[] payloads. Only notifies, so its commit waits for no disk.
    announce: `
      select pg_catalog.pg_notify($1::pg_catalog.text, payload)
      from pg_catalog.unnest($2::pg_catalog.text[]) with ordinality as batch (payload, place)
      ${onFirstRow([lockTimeoutSetting(notifyLockTimeoutMs)])}`,

    // Deletes expired rows. $1 int rows at the most; $2 float8 ms since they expired. Rows that another session has locked are left to it. Returns a row for each.
    prune: `
      delete from ${results}
      where task_id operator(pg_catalog.=) any (array(
        select task_id from ${results}
        where expires_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp() operator(pg_catalog.-) ($2::double precision operator(pg_catalog.*) interval '1 millisecond'))
        order by expires_at
        limit $1::int
        for update skip locked
      ))
      returning true`,

    notifyQueueUsage: notifyQueueUsageText,
  };
}
