import type { Database } from "../database/database";
import type { CommitReader, Moment } from "../waiting/catch-up";
import { type Mark, Snapshot } from "../waiting/feed-history";
import { microsOf } from "./expressions";

/** The SQL that follows the commits to a table, created once per schema. */
export interface CommitStatements {
  readonly now: string;
  readonly writtenSince: string;
  readonly committedSince: string;
}

/** A table whose commits are followed; names and conditions as SQL. */
export interface CommitSource {
  readonly table: string;
  readonly key: string;
  /** The column with the transaction that wrote the row. */
  readonly xid: string;
  /** The column with the time at which it was written. */
  readonly time: string;
  /** Latest plausible time of a row that is written now. A later time means that a clock was wrong. */
  readonly latest: string;
  /** Condition that a row exists and has not expired. */
  readonly isThere: string;
}

const snapshot = "pg_catalog.pg_current_snapshot()";
/**
 * The text of the current snapshot. A standby does not know which transactions are running, so all of the newest ones
 * count as running.
 */
export const currentSnapshot = `case when pg_catalog.pg_is_in_recovery()
          then pg_catalog.concat(pg_catalog.pg_snapshot_xmin(${snapshot}), ':', pg_catalog.pg_snapshot_xmin(${snapshot}), ':')
          else ${snapshot}::pg_catalog.text
        end`;

export function commitStatements({ table, key, xid, time, latest, isThere }: CommitSource): CommitStatements {
  const page = (condition: string, place: number): string => `
      select ${key}, ${xid}
      from ${table}
      where ${condition} and ${isThere}
        and (${xid}, ${key}) operator(pg_catalog.>) ($${place}::pg_catalog.text::pg_catalog.xid8, $${place + 1}::pg_catalog.text)
      order by ${xid}, ${key}
      limit $${place + 2}::int`;
  return {
    // The current snapshot, and the server's time in microseconds since 1970.
    now: `
      select
        ${currentSnapshot},
        ${microsOf("pg_catalog.clock_timestamp()")}`,

    // A page of the rows written since a time, ordered by transaction and key. $1 double precision microseconds since
    // 1970; $2 text transaction and $3 text key at the end of the previous page; $4 int rows.
    writtenSince: `
      select ${key}, ${xid}::pg_catalog.text
      from ${table}
      where ${time} operator(pg_catalog.>=)
          ('1970-01-01 00:00:00+00'::timestamp with time zone operator(pg_catalog.+) ($1::double precision operator(pg_catalog.*) '1 microsecond'::interval))
        and ${time} operator(pg_catalog.<=) ${latest}
        and (${xid}, ${key}) operator(pg_catalog.>) ($2::pg_catalog.text::pg_catalog.xid8, $3::pg_catalog.text)
        and ${isThere}
      order by ${xid}, ${key}
      limit $4::int`,

    // A page of the rows committed after one snapshot, ordered by transaction and key: those of later transactions, and
    // those of transactions that were running. $1 text end of that snapshot, $2 text[] running transactions; $3 text
    // end of the current snapshot; $4 text transaction and $5 text key at the end of the previous page; $6 int rows. In
    // two parts, each of which is a range of the index. A single range would include all rows written since the oldest
    // running transaction began.
    committedSince: `
      select page.key, page.xid::pg_catalog.text
      from (
        (${page(`${xid} operator(pg_catalog.>=) $1::pg_catalog.text::pg_catalog.xid8 and ${xid} operator(pg_catalog.<) $3::pg_catalog.text::pg_catalog.xid8`, 4)})
        union all
        (${page(`${xid} operator(pg_catalog.=) any ($2::pg_catalog.text[]::pg_catalog.xid8[])`, 4)})
      ) as page (key, xid)
      order by page.xid, page.key
      limit $6::int`,
  };
}

type MarkRow = [key: string, xid: string];

/** Reads commits from a table. */
export class TableCommits implements CommitReader {
  readonly #database: Pick<Database, "query">;
  readonly #statements: CommitStatements;
  readonly #timeoutMs: number;

  constructor(database: Pick<Database, "query">, statements: CommitStatements, timeoutMs: number) {
    this.#database = database;
    this.#statements = statements;
    this.#timeoutMs = timeoutMs;
  }

  async now(): Promise<Moment> {
    const query = { purpose: "read the current snapshot", text: this.#statements.now, values: [] };
    const [row] = await this.#database.query<[snapshot: string, micros: string]>(query, this.#timeoutMs);
    const [snapshot = "", micros] = row ?? [];
    return { snapshot: new Snapshot(snapshot), serverMicros: Number(micros) };
  }

  async writtenSince(micros: number, after: Mark, limit: number): Promise<readonly Mark[]> {
    return this.#read(this.#statements.writtenSince, [micros, String(after.xid), after.key, limit]);
  }

  async committedSince(from: Snapshot, to: Snapshot, after: Mark, limit: number): Promise<readonly Mark[]> {
    const range = [String(from.xmax), [...from.running].map(String), String(to.xmax)];
    return this.#read(this.#statements.committedSince, [...range, String(after.xid), after.key, limit]);
  }

  async #read(text: string, values: readonly unknown[]): Promise<readonly Mark[]> {
    const rows = await this.#database.query<MarkRow>({ purpose: "read what is new", text, values }, this.#timeoutMs);
    return rows.map(([key, xid]) => ({ key, xid: Number(xid) }));
  }
}
