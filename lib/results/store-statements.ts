import { escapeIdentifier } from "pg";
import { lockTimeoutSetting, type Query } from "../database/database";
import { encodeInline, encodePayloads } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import type { StoreRow } from "../value/encoding";
import {
  isInTime,
  isNotNewer,
  isPresent,
  microsOf,
  nullIfEmpty,
  nullIfNegative,
  onFirstRow,
  setting,
  writtenBy,
} from "./expressions";
import { type EachAttempt, type RowsAttempt, rowLockTimeoutMs } from "./attempts";
import { failureColumns } from "./write-errors";

interface StoreVariant {
  /**
   * `own`: the statement has its own transaction. `caller`: it runs in the caller's transaction, which has its own
   * settings and deadline.
   */
  readonly transaction: "own" | "caller";
  /**
   * `payload`: the statement passes the payloads to the trigger. `inline`: the same for one row, with its result.
   * `rows`: triggers read the written rows. `none`: the writer announces the rows after the commit.
   */
  readonly notification: "payload" | "inline" | "rows" | "none";
  /** Stored results that it replaces: all, expired ones, or those older than the call. */
  readonly replaces: "all" | "expired" | "older";
}

/** All forms of the statement that stores. */
const variants = {
  replace: { transaction: "own", notification: "payload", replaces: "all" },
  replaceInline: { transaction: "own", notification: "inline", replaces: "all" },
  // Several inline results: only the database knows the size of each as jsonb.
  replaceInlineMany: { transaction: "own", notification: "rows", replaces: "all" },
  replaceUnannounced: { transaction: "own", notification: "none", replaces: "all" },
  replaceOlder: { transaction: "own", notification: "rows", replaces: "older" },
  replaceOlderUnannounced: { transaction: "own", notification: "none", replaces: "older" },
  keep: { transaction: "own", notification: "rows", replaces: "expired" },
  keepUnannounced: { transaction: "own", notification: "none", replaces: "expired" },
  // In the caller's transaction a payload would outlive the statement, and 'off' would suppress the notifications of
  // the caller's other writes.
  replaceForCaller: { transaction: "caller", notification: "rows", replaces: "all" },
  keepForCaller: { transaction: "caller", notification: "rows", replaces: "expired" },
} as const satisfies Record<string, StoreVariant>;

/** The two forms of a variant. */
interface StoreTexts {
  /**
   * Stores a batch. The parameters are arrays without nulls (see {@link nullIfEmpty}): text ids, text results and text
   * failures as JSON or '', float8 ms to live or -1, and with tracing text spans or ''. In its own transaction, the
   * server time from which it must not write follows. The last one depends on the variant: a JSON object with the
   * server times of the calls by id, or the text payloads, one per line. The caller has merged repeated ids, since one
   * statement cannot update a row twice (SQLSTATE 21000), and sorted them, since two batches in opposite orders would
   * deadlock.
   */
  readonly many: string;
  /**
   * Stores one row. Takes the same parameters as scalars that may be null, since unpacking arrays takes the server 0.03
   * ms. For `inline`, the payload is passed as the part before its time and the part after it.
   */
  readonly one: string;
}

/** Columns of a row as parameters, and the value that replaces null in an array. */
const columns = [
  { name: "task_id", type: "pg_catalog.text", valueOf: ({ taskId }: StoreRow) => taskId, absent: "" },
  { name: "result", type: "pg_catalog.text", valueOf: ({ result }: StoreRow) => result, absent: "" },
  { name: "error", type: "pg_catalog.text", valueOf: ({ error }: StoreRow) => error, absent: "" },
  { name: "ttl_ms", type: "double precision", valueOf: ({ ttlMs }: StoreRow) => ttlMs, absent: -1 },
  { name: "trace_context", type: "pg_catalog.text", valueOf: (row: StoreRow) => row.traceContext ?? null, absent: "" },
] as const;

const eachTypes = [
  ...columns.map(({ type }) => `${type}[]`),
  ...["boolean[]", "double precision[]", "double precision[]", "double precision", "boolean", "int", "int", "int"],
  "boolean",
];
const eachParameters = eachTypes.map((type, index) => `$${index + 1}::${type}`).join(", ");

/** Chooses the statement that stores rows, and its parameters. */
export class StoreStatements {
  /**
   * Deletes a result. $1 text id, $2 float8 server time from which it must not delete, $3 float8 time after which a
   * stored result is kept, or null. Returns a row if there was an unexpired result. An expired one is deleted without
   * returning a row.
   */
  readonly deletion: string;
  readonly #options: ResolvedOptions;
  readonly #isTracing: boolean;
  readonly #columns: readonly (typeof columns)[number][];
  readonly #texts: Readonly<Record<keyof typeof variants, StoreTexts>>;

  constructor(options: ResolvedOptions, isTracing: boolean) {
    this.#options = options;
    this.#isTracing = isTracing;
    const schema = escapeIdentifier(options.schema);
    this.deletion = `
      with deleted as (
        delete from ${schema}.kojin_results
        where task_id operator(pg_catalog.=) $1::pg_catalog.text and ($3::double precision is null or ${isNotNewer("stored_at", "$3::double precision")})
        returning expires_at, ${isInTime(schema, "$2")} as in_time
      )
      select true from deleted where in_time and ${isPresent}`;
    this.#columns = isTracing ? columns : columns.slice(0, -1);
    const texts = Object.entries(variants).map(([name, variant]) => [name, this.#textsOf(variant)] as const);
    this.#texts = Object.fromEntries(texts) as Record<keyof typeof variants, StoreTexts>;
  }

  /** Stores rows that either all keep or all replace stored results, in its own transaction. */
  first(rows: readonly StoreRow[], { notifies, giveUpAt }: RowsAttempt): Query {
    const [row] = rows;
    const { inlineResultBytes } = this.#options;
    if (row?.keep === true) return this.#query(notifies ? "keep" : "keepUnannounced", rows, giveUpAt);
    if (!notifies) return this.#query("replaceUnannounced", rows, giveUpAt);
    if (inlineResultBytes > 0 && rows.length > 1) return this.#query("replaceInlineMany", rows, giveUpAt);
    const inline = row && encodeInline(row, inlineResultBytes);
    if (inline !== undefined) return this.#query("replaceInline", rows, giveUpAt, ...inline);
    const ids = rows.map(({ taskId }) => taskId);
    // JSON has no line breaks of its own.
    return this.#query("replace", rows, giveUpAt, encodePayloads("ids", ids).join("\n"));
  }

  /**
   * The same for rows that have waited since the server times `calledAt`. Results stored later are not overwritten, so
   * only the triggers know which rows were written.
   */
  older(rows: readonly StoreRow[], { notifies, giveUpAt }: RowsAttempt, calledAt: readonly number[]): Query {
    const byId = (): string => JSON.stringify(Object.fromEntries(rows.map(({ taskId }, i) => [taskId, calledAt[i]])));
    const times = rows.length === 1 ? calledAt[0] : byId();
    const query = this.#query(notifies ? "replaceOlder" : "replaceOlderUnannounced", rows, giveUpAt, times);
    return { ...query, isPrepared: false };
  }

  /**
   * Stores rows of any kind so that each fails alone. Returns the place and the error of each failed row, and the place
   * of each written one.
   */
  each({ rows, limits }: EachAttempt<StoreRow>): Query {
    const schema = escapeIdentifier(this.#options.schema);
    const text = `select place, ${writtenBy}, ${failureColumns} from ${schema}.kojin_store_each(${eachParameters})`;
    const values = columns.map(({ valueOf, absent }) => rows.map((row) => valueOf(row) ?? absent));
    return { purpose: "store results", text, values: [...values, rows.map(({ keep }) => keep), ...limits] };
  }

  /** Stores one row in the caller's transaction. */
  forCaller(row: StoreRow): Query {
    return this.#query(row.keep ? "keepForCaller" : "replaceForCaller", [row]);
  }

  #query(name: keyof typeof variants, rows: readonly StoreRow[], ...more: readonly unknown[]): Query {
    const [row] = rows;
    const isOne = row !== undefined && rows.length === 1;
    const values: unknown[] = isOne
      ? this.#columns.map(({ valueOf }) => valueOf(row))
      : this.#columns.map(({ valueOf, absent }) => rows.map((each) => valueOf(each) ?? absent));
    values.push(...more);
    const { one, many } = this.#texts[name];
    return { purpose: "store results", text: isOne ? one : many, values, isPrepared: true };
  }

  #textsOf(variant: StoreVariant): StoreTexts {
    const parameters = this.#columns.map(({ type }, index) => `$${index + 1}::${type}`);
    const names = this.#columns.map(({ name }) => name);
    const [fence, extra] = [1, 2].map((place) => `$${parameters.length + place}`) as [string, string];
    const inTime = variant.transaction === "own" ? isInTime(escapeIdentifier(this.#options.schema), fence) : undefined;
    const arrays = parameters.map((parameter) => `pg_catalog.unnest(${parameter}[])`).join(", ");
    const row = parameters.map((parameter, index) => `${parameter} as ${names[index] ?? ""}`).join(", ");
    // By id, since an `on conflict` clause can only refer to columns of the row.
    const calledAt = `(${extra}::pg_catalog.jsonb operator(pg_catalog.->>) stored.task_id::pg_catalog.text)`;
    const many = this.#insert(
      `rows from (${arrays}) with ordinality as batch (${names.join(", ")}, place)`,
      variant,
      `${calledAt}::double precision`,
    );
    const one = this.#insert(`(select ${row}, 1 as place) as batch`, variant, `${extra}::double precision`);
    if (inTime === undefined) return { many, one };
    const answer = `case when ${inTime} then ${writtenBy} end`;
    const ids = variant.replaces === "older" ? "pg_catalog.json_agg(task_id)::pg_catalog.text" : "pg_catalog.count(*)";
    return {
      // One result for all rows rather than one per row.
      many: `
    with written as (${many} returning task_id)
    select ${answer}, ids from (select ${ids} as ids from written) as counted`,
      one: `${one} returning ${answer}`,
    };
  }

  #insert(source: string, variant: StoreVariant, calledAt: string): string {
    const { schema } = this.#options;
    const isTracing = this.#isTracing;
    const isInline = variant.notification === "inline";
    const storedAt = isInline ? "pg_catalog.statement_timestamp()" : "pg_catalog.clock_timestamp()";
    const replaced: Record<StoreVariant["replaces"], string> = {
      all: "true",
      // An expired result counts as absent.
      expired: "stored.expires_at operator(pg_catalog.<=) pg_catalog.statement_timestamp()",
      older: isNotNewer("stored.stored_at", calledAt),
    };
    return `
    insert into ${escapeIdentifier(schema)}.kojin_results as stored (task_id, result, error, stored_at, expires_at${isTracing ? ", trace_context" : ""})
    select task_id, result::pg_catalog.jsonb, ${nullIfEmpty("error")}::pg_catalog.jsonb, ${storedAt},
      pg_catalog.statement_timestamp() operator(pg_catalog.+) (${nullIfNegative("ttl_ms")} operator(pg_catalog.*) interval '1 millisecond')
      ${isTracing ? `, ${nullIfEmpty("trace_context")}` : ""}
    from ${source}
    ${onFirstRow(this.#settings(variant))}
    on conflict (task_id) do update
      set result = excluded.result, error = excluded.error, stored_at = ${isInline ? "excluded.stored_at" : storedAt},
        stored_xid = pg_catalog.pg_current_xact_id(), expires_at = excluded.expires_at,
        trace_context = ${isTracing ? "excluded.trace_context" : "null"}
      where ${replaced[variant.replaces]}`;
  }

  /**
   * Actions of a statement before its first row is written. Overrides all settings of the session, except in a caller's
   * transaction.
   */
  #settings({ transaction, notification }: StoreVariant): string[] {
    const { schema, inlineResultBytes } = this.#options;
    const [fence, first, second] = [1, 2, 3].map((place) => `$${this.#columns.length + place}`) as [
      string,
      ...string[],
    ];
    const payloads = {
      payload: `${first}::pg_catalog.text`,
      inline: `${first}::pg_catalog.text operator(pg_catalog.||) ${storedWhen} operator(pg_catalog.||) ${second}::pg_catalog.text`,
      rows: "''",
      none: "''",
    };
    const own = [
      isInTime(escapeIdentifier(schema), fence),
      lockTimeoutSetting(rowLockTimeoutMs(this.#options)),
      setting("kojin.notify", notification === "none" ? "'off'" : "''"),
      setting("kojin.payload", payloads[notification]),
    ];
    const inline = notification === "rows" && inlineResultBytes > 0;
    return [
      ...(transaction === "own" ? own : []),
      ...(inline ? [setting("kojin.inline_bytes", `'${inlineResultBytes}'`)] : []),
    ];
  }
}

/** Time and transaction of an inline result, which must be the same in the row and in the payload. */
const storedWhen = `${microsOf("pg_catalog.statement_timestamp()")} operator(pg_catalog.||) ',' operator(pg_catalog.||) pg_catalog.pg_current_xact_id()::pg_catalog.text`;
