import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";
import { type CopyRules, outcomesOf, qualifiedTable, storeCall } from "./copy-functions";
import { displayName, type ResolvedTable } from "./queue-table";

/** Outcomes that a backfill has copied and could not copy. */
export interface BackfillReport {
  readonly copied: number;
  /** Jobs whose outcome cannot be stored, for example because of its id. */
  readonly skipped: number;
}

/** A table without partitions, or one partition. */
interface Leaf {
  readonly schema: string;
  readonly table: string;
  readonly pages: number;
  /** The table with the expressions. */
  readonly queue: ResolvedTable;
}

const pagesPerStatement = 128;
/** A statement that takes longer is repeated with fewer pages. A single page may take the time of its transaction. */
const statementTimeoutMs = 5_000;
const limits = { timeoutMs: 120_000, beginTimeoutMs: 10_000, lockTimeoutMs: 10_000 };

// $1 text schema, $2 text name. Returns the table, or its partitions, with their pages of rows.
const leavesText = `
  with root as (
    select relation.oid
    from pg_catalog.pg_class as relation
    join pg_catalog.pg_namespace as place on place.oid operator(pg_catalog.=) relation.relnamespace
    where place.nspname operator(pg_catalog.=) $1::pg_catalog.text and relation.relname operator(pg_catalog.=) $2::pg_catalog.text
  ),
  leaves as (
    select oid from root
    union
    select tree.relid::pg_catalog.oid from root cross join lateral pg_catalog.pg_partition_tree(root.oid) as tree
  )
  select place.nspname::pg_catalog.text, leaf.relname::pg_catalog.text,
    (pg_catalog.pg_relation_size(leaf.oid) operator(pg_catalog./)
      pg_catalog.current_setting('block_size')::bigint)::pg_catalog.text
  from leaves
  join pg_catalog.pg_class as leaf on leaf.oid operator(pg_catalog.=) leaves.oid
  join pg_catalog.pg_namespace as place on place.oid operator(pg_catalog.=) leaf.relnamespace
  where leaf.relkind operator(pg_catalog.=) 'r'
  order by 1, 2`;

/**
 * Copies the outcomes of jobs that finished before the trigger was created, page after page of the table, each in its
 * own transaction. Pages need no index. An outcome that is stored already stays.
 */
export class Backfill {
  readonly #database: Database;
  readonly #schema: string;
  readonly #tables: readonly ResolvedTable[];
  readonly #rules: CopyRules;
  readonly #onProgress: (report: BackfillReport) => void;
  #report: BackfillReport = { copied: 0, skipped: 0 };

  constructor(
    database: Database,
    schema: string,
    tables: readonly ResolvedTable[],
    rules: CopyRules,
    onProgress: (report: BackfillReport) => void,
  ) {
    this.#database = database;
    this.#schema = schema;
    this.#tables = tables;
    this.#rules = rules;
    this.#onProgress = onProgress;
  }

  async run(): Promise<BackfillReport> {
    for (const queue of this.#tables)
      for (const table of [queue.table, queue.archive])
        if (table !== undefined)
          for (const leaf of await this.#leavesOf({ ...queue, table })) await this.#copyTable(leaf);
    return this.#report;
  }

  async #leavesOf(queue: ResolvedTable): Promise<Leaf[]> {
    const query = { purpose: "look for earlier jobs", text: leavesText, values: [queue.schema, queue.table] };
    const rows = await this.#database.query<[string, string, string]>(query, limits.timeoutMs);
    return rows.map(([schema, table, pages]) => ({ schema, table, pages: Number(pages), queue }));
  }

  async #copyTable(leaf: Leaf): Promise<void> {
    let step = pagesPerStatement;
    for (let page = 0; page < leaf.pages;) {
      const range = [`(${page},0)`, `(${page + step},0)`] as const;
      const copied = await this.#copy(leaf, range, step > 1 ? statementTimeoutMs : undefined);
      if (copied === "too slow") {
        step = Math.ceil(step / 4);
        continue;
      }
      if (copied === "refused") await this.#copyEach(leaf, range);
      else this.#count({ copied });
      page += step;
      step = Math.min(pagesPerStatement, step * 2);
    }
  }

  /** Copies one row after another, of pages with a row that cannot be copied. */
  async #copyEach(leaf: Leaf, range: readonly [string, string]): Promise<void> {
    const text = `select ctid::pg_catalog.text as place from ${rowsOf(leaf)}`;
    const rows = await this.#transaction(leaf, async (client) => (await client.query(text, [...range])).rows);
    for (const { place } of rows as { place: string }[]) {
      const copied = await this.#copy(leaf, [place, nextPlace(place)], undefined);
      this.#count(typeof copied === "number" ? { copied } : { skipped: 1 });
    }
  }

  async #copy(
    leaf: Leaf,
    range: readonly [string, string],
    limitMs: number | undefined,
  ): Promise<number | "too slow" | "refused"> {
    const source = `(select * from ${rowsOf(leaf)})`;
    const store = storeCall(this.#schema, "outcome", this.#rules);
    const text = `select pg_catalog.count(*) filter (where stored)::int as copied
      from (select ${store} as stored from (${outcomesOf(source, this.#rules, leaf.queue)}) as outcome offset 0) as done`;
    try {
      const rows = await this.#transaction(
        leaf,
        async (client) => (await client.query(text, [...range])).rows,
        limitMs,
      );
      return Number(rows[0]?.["copied"]);
    } catch (error) {
      if (!(error instanceof DatabaseError) || error.origin !== "statement") throw error;
      if (limitMs !== undefined && error.sqlState === sqlStates.queryCanceled) return "too slow";
      // Another transaction has locked a result, or a row has data that cannot be stored.
      if (/^(22|54|55)/.test(error.sqlState ?? "")) return "refused";
      throw error;
    }
  }

  async #transaction<T>({ queue }: Leaf, work: (client: SqlClient) => Promise<T>, limitMs?: number): Promise<T> {
    return this.#database.transaction(
      `copy the outcomes in ${displayName(queue)}`,
      { ...limits, statementTimeoutMs: limitMs },
      async (client: SqlClient) => {
        await client.query("select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)", []);
        return work(client);
      },
    );
  }

  #count({ copied = 0, skipped = 0 }: Partial<BackfillReport>): void {
    this.#report = { copied: this.#report.copied + copied, skipped: this.#report.skipped + skipped };
    this.#onProgress(this.#report);
  }
}

/** The rows of a range of places, from $1 to before $2, which the server reads without an index. */
const rowsOf = (leaf: Leaf): string =>
  `only ${qualifiedTable(leaf)} as stored
    where stored.ctid operator(pg_catalog.>=) $1::pg_catalog.text::pg_catalog.tid
      and stored.ctid operator(pg_catalog.<) $2::pg_catalog.text::pg_catalog.tid`;

/** Returns the place after a place such as `(12,3)`. */
function nextPlace(place: string): string {
  const [page = "0", line = "0"] = place.slice(1, -1).split(",");
  return `(${page},${Number(line) + 1})`;
}
