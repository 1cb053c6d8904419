import { escapeIdentifier } from "pg";
import type { BackendCore } from "../backend-core";
import { isPresent, microsOf } from "../results/expressions";
import { currentSnapshot } from "../results/table-commits";
import { type GapList, type History, historyMs } from "./history";
import { failureSummary, preview, shorten } from "./previews";

/** A stored result on a list. Times are in milliseconds since 1970 on the server's clock. */
export interface ListedResult {
  readonly taskId: string;
  readonly isFailure: boolean;
  readonly storedAt: number;
  /** Stored size of the result or the failure. */
  readonly bytes: number;
  /** The beginning of the result or of the failure; only if results are shown. */
  readonly detail?: string;
}

/** Rows that are not counted yet: those of a range of transactions, and of transactions that were running before. */
interface Range {
  readonly from: string;
  /** Undefined for all transactions until now. */
  readonly below?: string;
  readonly running: readonly string[];
  /** The rows were stored between these times. */
  readonly since: number;
  readonly until: number;
}

type Row = [kind: string, ...values: (string | null)[]];

/** Rows that one statement reads, and more only if they are of the last transaction. */
const pageRows = 10_000;
/** Rows of one transaction that a statement reads at most, in 0.2 s. Its other rows are not counted. */
const maxReadRows = 100_000;
/** Rows that are counted at most for the time before the page was opened. */
const maxOldRows = 1_000_000;
const listLength = 25;
const timeoutMs = 3_000;

/**
 * Reads the latest results and failures, and counts what was stored in the last hour. Each read covers only the
 * transactions that have committed since the previous one. Older rows are counted page by page, newest first.
 */
export class RecentResults {
  readonly #core: BackendCore;
  readonly #history: History;
  readonly #text: string;
  readonly #lists = new Map<string, ListedResult>();
  /** The snapshot of the latest read, and its time. */
  #latest: { readonly xmax: string; readonly running: readonly string[]; readonly time: number } | undefined;
  /** Ranges to be counted, the oldest one first. */
  #uncounted: Range[] = [];
  #oldRows = 0;
  #skewMs = 0;

  constructor(core: BackendCore, history: History, showResults: boolean) {
    this.#core = core;
    this.#history = history;
    this.#text = statement(escapeIdentifier(core.options.schema), showResults);
  }

  get results(): readonly ListedResult[] {
    return this.#newest(() => true);
  }

  get failures(): readonly ListedResult[] {
    return this.#newest(({ isFailure }) => isFailure);
  }

  /** The times whose rows are not all counted. */
  get gaps(): GapList {
    if (this.#latest === undefined) return [[-Infinity, Infinity]];
    return this.#uncounted.map(({ since, until }) => [since, until]);
  }

  /** The time on the server's clock, in milliseconds since 1970, as far as it is known. */
  get serverTime(): number {
    return Math.round(Date.now() + this.#skewMs);
  }

  /** True if older rows are left to be counted. */
  get canReadOlder(): boolean {
    return this.#uncounted.length > 0 && this.#oldRows < maxOldRows;
  }

  /** Begins anew: what is stored from now on counts as old, until it is read. */
  pause(): void {
    this.#oldRows = 0;
  }

  /** Reads what was committed since the latest read. */
  async readNew(): Promise<void> {
    const latest = this.#latest;
    const since = latest?.time ?? 0;
    await this.#read({ from: latest?.xmax ?? "0", running: latest?.running ?? [], since, until: since });
  }

  /** Counts the next page of older rows. A page that takes too long is left out for good. */
  async readOlder(): Promise<void> {
    const range = this.#uncounted.pop();
    if (range === undefined) return;
    try {
      await this.#read(range);
    } catch (error) {
      this.#uncounted.push(range);
      this.#oldRows = maxOldRows;
      throw error;
    }
  }

  async #read(range: Range): Promise<void> {
    const isNew = range.below === undefined;
    const values = [range.from, range.below ?? null, range.running, pageRows, [...this.#lists.keys()], listLength];
    const query = { purpose: "read recent results", text: this.#text, values };
    const rows = await this.#core.database.query<Row>(query, timeoutMs);
    this.#lists.clear();
    let scanned: (string | null)[] = [];
    for (const [kind, ...fields] of rows) {
      if (kind === "scan") scanned = fields;
      else if (kind === "count") this.#history.add(...(fields.map(Number) as [number, number, number]));
      else this.#list(fields);
    }
    const [snapshot, micros, oldestXid, oldestMicros, count] = scanned;
    const time = Number(micros) / 1_000;
    this.#skewMs = time - Date.now();
    if (isNew) {
      const [, xmax = "0", running = ""] = (snapshot ?? "").split(":");
      this.#latest = { xmax, running: running === "" ? [] : running.split(","), time };
    } else this.#oldRows += Number(count);
    this.#history.moveTo(time);
    this.#trim();
    if (Number(count) < pageRows || oldestXid === null || oldestXid === undefined) return;
    // The rows before this page.
    const since = Math.max(range.since, time - historyMs);
    const until = Number(oldestMicros) / 1_000;
    if (until > time - historyMs)
      this.#uncounted.push({ from: range.from, below: oldestXid, running: [], since, until });
  }

  #list([taskId, micros, failed, bytes, detail]: readonly (string | null)[]): void {
    this.#lists.set(taskId ?? "", {
      taskId: taskId ?? "",
      isFailure: failed === "true",
      storedAt: Number(micros) / 1_000,
      bytes: Number(bytes),
      ...(detail === null || detail === undefined ? {} : { detail: shorten(detail) }),
    });
  }

  #newest(isWanted: (result: ListedResult) => boolean): readonly ListedResult[] {
    const wanted = [...this.#lists.values()].filter(isWanted);
    return wanted.sort((one, other) => other.storedAt - one.storedAt).slice(0, listLength);
  }

  #trim(): void {
    const kept = new Set([...this.#newest(() => true), ...this.#newest(({ isFailure }) => isFailure)]);
    for (const [taskId, result] of this.#lists) if (!kept.has(result)) this.#lists.delete(taskId);
  }
}

/**
 * $1 text first transaction, $2 text transaction after the last one or null for all until now, $3 text[] transactions
 * that were running before, $4 int rows, $5 text[] tasks that are listed, $6 int length of a list. Reads the index
 * kojin_results_stored_xid from its end, $4 rows and more of the last transaction. Returns rows of text that begin with
 * their kind:
 *
 * - `scan`: the snapshot, the time, the oldest transaction read, when it first stored, and the number of rows read;
 * - `count`: a second since 1970, and the results and failures stored in it;
 * - `row`: a result for the lists.
 */
function statement(schema: string, showResults: boolean): string {
  const results = `${schema}.kojin_results`;
  const columns = `task_id::pg_catalog.text as task_id, stored_xid, stored_at, error is not null as is_failed`;
  const detail = showResults
    ? `case when stored.error is null then ${preview("stored.result")} else ${failureSummary("stored.error")} end`
    : "null";
  const isMain = "scanned.stored_xid operator(pg_catalog.>=) $1::pg_catalog.text::pg_catalog.xid8";
  const newest = (condition: string): string => `
      (select scanned.task_id from scanned
       where ${condition} order by scanned.stored_xid desc, scanned.stored_at desc limit $6::int)`;
  return `
    with scanned as materialized (
      (
        select latest.* from (
          select ${columns} from ${results}
          where stored_xid operator(pg_catalog.>=) $1::pg_catalog.text::pg_catalog.xid8
            and stored_xid operator(pg_catalog.<) coalesce(
              $2::pg_catalog.text::pg_catalog.xid8, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))
          order by stored_xid desc
          fetch first ($4::int) rows with ties
        ) as latest
        limit ${maxReadRows}
      )
      union all
      (
        select ${columns} from ${results}
        where stored_xid operator(pg_catalog.=) any ($3::pg_catalog.text[]::pg_catalog.xid8[])
        limit ${maxReadRows}
      )
    ),
    oldest as (
      select scanned.stored_xid, scanned.stored_at from scanned where ${isMain} order by scanned.stored_xid, scanned.stored_at limit 1
    ),
    picked as (
      ${newest("true")}
      union ${newest("scanned.is_failed")}
      union select listed.task_id from pg_catalog.unnest($5::pg_catalog.text[]) as listed (task_id)
    )
    select 'scan' as kind, ${currentSnapshot} as a, ${microsOf("pg_catalog.clock_timestamp()")} as b,
      (select oldest.stored_xid::pg_catalog.text from oldest) as c,
      (select ${microsOf("oldest.stored_at")} from oldest) as d,
      (select pg_catalog.count(*)::pg_catalog.text from scanned) as e, null as f
    union all
    select 'count', counted.second::pg_catalog.text, pg_catalog.count(*)::pg_catalog.text,
      (pg_catalog.count(*) filter (where counted.is_failed))::pg_catalog.text, null, null, null
    from (
      select pg_catalog.floor(pg_catalog.date_part('epoch', scanned.stored_at))::bigint as second, scanned.is_failed
      from scanned
      where pg_catalog.isfinite(scanned.stored_at)
    ) as counted
    group by counted.second
    union all
    select 'row', stored.task_id::pg_catalog.text, ${microsOf("stored.stored_at")},
      (stored.error is not null)::pg_catalog.text,
      pg_catalog.pg_column_size(coalesce(stored.error, stored.result))::pg_catalog.text, ${detail}, null
    from picked join ${results} as stored on stored.task_id operator(pg_catalog.=) picked.task_id
    where ${isPresent}`;
}
