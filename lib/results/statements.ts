import { escapeIdentifier } from "pg";
import { notifyQueueUsageText } from "../database/database";
import { isInTime, isNotNewer, isPresent } from "./expressions";
import { type CommitStatements, commitStatements } from "./table-commits";

/**
 * The SQL that runs on results, made once for a schema. Names are qualified, and operators have the very types that
 * they exist for, so that no search_path matters, not even a pooler's leftover: Postgres has to convert for
 * `numeric * integer`, and would prefer an operator of just these types that another role has created.
 */
export interface ResultStatements {
  readonly delete: string;
  readonly commits: CommitStatements;
  readonly prune: string;
  readonly notifyQueueUsage: string;
}

export interface ResultStatementOptions {
  readonly schema: string;
  readonly maxResultBytes: number;
}

export function resultStatements({ schema }: Pick<ResultStatementOptions, "schema">): ResultStatements {
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  return {
    // $1 text id, $2 float8 the server's time from which it may not delete, $3 float8 the time after which a result was
    // stored that stays, or null. Returns a row if there was one to be seen; one that had expired is deleted and not
    // counted.
    delete: `
      with deleted as (
        delete from ${results}
        where task_id operator(pg_catalog.=) $1::pg_catalog.text and ($3::double precision is null or ${isNotNewer("stored_at", "$3::double precision")})
        returning expires_at, ${isInTime(escapeIdentifier(schema), "$2")} as in_time
      )
      select true from deleted where in_time and ${isPresent}`,

    commits: commitStatements({
      table: results,
      key: "task_id",
      xid: "stored_xid",
      time: "stored_at",
      latest: "pg_catalog.clock_timestamp()",
      isThere: isPresent,
    }),

    // Deletes expired rows. $1 int rows at the most; $2 float8 ms since they expired. Rows that another session has
    // locked are left to it. Returns a row for each.
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
