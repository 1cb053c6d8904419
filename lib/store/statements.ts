import { escapeIdentifier, escapeLiteral } from "pg";
import { lockTimeoutSetting } from "../database/database";
import { notifyQueueUsageText } from "../database/send-notification";
import { type CommitStatements, commitStatements } from "./commit-statements";
import { microsOf, onFirstRow, plannedAnew } from "./expressions";

/** 32 pages, with a thousand rows or so: to read all of them looks six times as dear to the server as to go by the key (52 against 8.3, by its default costs). */
const largeTableBytes = 32 * 8_192;

/** How long something that only notifies may wait for the notification lock. */
const notifyLockTimeoutMs = 2_000;

/**
 * The SQL that runs on results, made once for a schema. Names are qualified, and operators have the very types that they exist for, so that no search_path matters, not
 * even a pooler's leftover: `numeric * integer` would be anybody's who may create an operator there, since Postgres has to convert for its own.
 */
export interface ResultStatements {
  /** For every database that speaks as Postgres does. */
  readonly read: string;
  /** The same, which also says whether the table is large; for Postgres. */
  readonly readWithSize: string;
  /** Of one result, planned once for a session: for a table that is large then. The same number gives the same text, another one a plan of its own. */
  readonly readOne: (planNumber: number) => string;
  readonly delete: string;
  readonly commits: CommitStatements;
  readonly announce: string;
  readonly prune: string;
  readonly notifyQueueUsage: string;
}

export function resultStatements(schema: string, isObserved = false): ResultStatements {
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  const isThere = "(expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())";
  // A query of its own within the other: it runs once, and not for each row, of which it would take as long as all the rest (13 instead of 9 µs for a result, stored and read).
  const isLarge = `(select pg_catalog.pg_relation_size(${escapeLiteral(results)}::pg_catalog.regclass) operator(pg_catalog.>=) ${largeTableBytes})`;
  // Those that are there and not expired, with a flag for those stored more than a second ago: a listener that hears would have told of them; for telemetry also with the span
  // that stored them, and their age.
  const select = (size: string): string => `
      select task_id, result::pg_catalog.text, error::pg_catalog.text, ${microsOf("stored_at")}, stored_at operator(pg_catalog.<) (pg_catalog.statement_timestamp() operator(pg_catalog.-) interval '1 second'), ${size}, stored_xid::pg_catalog.text${
        isObserved
          ? ", trace_context, (extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) stored_at) operator(pg_catalog.*) 1000::numeric)::double precision"
          : ""
      }
      from ${results}`;
  return {
    // $1 text[] ids; $2 boolean true.
    read: `${select("null::boolean")} where ${plannedAnew("$2")} and task_id operator(pg_catalog.=) any($1::pg_catalog.text[]) and ${isThere}`,
    readWithSize: `${select(isLarge)} where ${plannedAnew("$2")} and task_id operator(pg_catalog.=) any($1::pg_catalog.text[]) and ${isThere}`,
    // $1 text id.
    readOne: (planNumber) =>
      `${select("null::boolean")} where task_id operator(pg_catalog.=) $1::pg_catalog.text and ${isThere} /* plan ${planNumber} */`,

    // $1 text id. Returns a row if there was one to be seen; one that had expired is deleted and not counted.
    delete: `
      with deleted as (delete from ${results} where task_id operator(pg_catalog.=) $1::pg_catalog.text returning expires_at)
      select true from deleted where expires_at is null or expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp()`,

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
      where task_id operator(pg_catalog.=) any (
        select task_id from ${results}
        where expires_at operator(pg_catalog.<=) (pg_catalog.statement_timestamp() operator(pg_catalog.-) ($2::double precision operator(pg_catalog.*) interval '1 millisecond'))
        order by expires_at
        limit $1::int
        for update skip locked
      )
      returning true`,

    notifyQueueUsage: notifyQueueUsageText,
  };
}
