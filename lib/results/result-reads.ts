import { escapeIdentifier, escapeLiteral } from "pg";
import type { Database, Query } from "../database/database";
import type { StoredResult } from "../value/decoding";
import { maxTextBytes } from "../value/encoding";
import type { SourceContext } from "../waiting/keyed-source";
import type { Found, ReadAnswer, ReadCare } from "../waiting/read-attempts";
import {
  boundedText,
  carefulText,
  estimatedBytes,
  isPresent,
  microsOf,
  readBudgetBytes,
  shortText,
} from "./expressions";

type Row = [
  taskId: string,
  result: string | null,
  error: string | null,
  storedAt: string | null,
  isOld: boolean,
  isLargeTable: boolean | null,
  storedXid: string | null,
  hasError: boolean,
  isHeld: boolean,
  traceContext?: string | null,
  ageMs?: number,
];

/**
 * 32 pages, with a thousand rows or so: to read all of them looks six times as dear to the server as to go by the key
 * (52 against 8.3, by its default costs).
 */
const largeTableBytes = 32 * 8_192;

/** Reads by a plan that is kept, before the size of the table is asked for again. */
const readsPerLook = 16;

/**
 * Reads results of tasks, each statement planned anew: a plan that was made while the table was almost empty reads all
 * of it, and would be kept when it is full. But to plan takes 0.05 of the 0.18 ms of a read, and most wake-ups are for
 * one result. So one result is read by a plan that is kept, once the table is so large that no plan made from then on
 * reads all of it; and under another name, so by another plan, when it has become small in between.
 */
export class ResultReads {
  readonly #database: Database;
  readonly #texts: ReadTexts;
  /** Results that have turned out to be large, until they are read. */
  readonly #large = new Set<string>();
  #isLarge = false;
  #planNumber = 0;
  #keptReadsLeft = 0;

  constructor({ database, options, isObserved }: SourceContext) {
    this.#database = database;
    this.#texts = readTexts(options.schema, options.maxResultBytes, isObserved);
  }

  /** Reads about a megabyte of results, or one that is larger. */
  read(taskIds: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<StoredResult>> {
    const query = this.#query(taskIds, care !== undefined);
    return this.#database.query<Row>(query, timeoutMs, care?.limitMs).then((rows) => {
      const isLarge = rows[0]?.[5] ?? null;
      if (isLarge !== null) this.#look(isLarge);
      const { readLarge, careful } = this.#texts;
      const isLast = query.text === readLarge || query.text === careful.readLarge;
      const unsent = isLast ? [] : rows.filter((row) => !isWhole(row));
      if (unsent.length === 0) return { found: new Map(rows.map((row) => [row[0], toFound(row)])) };
      const found = new Map(rows.filter(isWhole).map((row) => [row[0], toFound(row)]));
      const large = unsent.filter((row) => !row[8]).map(([taskId]) => taskId);
      for (const taskId of large) this.#large.add(taskId);
      return { found, unsent: unsent.filter((row) => row[8]).map(([taskId]) => taskId), large };
    });
  }

  #query(taskIds: readonly string[], isCareful: boolean): Query {
    const query = { purpose: "read results", isPrepared: true, isPaced: true };
    const { readOneWithSize, readOne, careful } = this.#texts;
    const { readMany, readLarge } = isCareful ? careful : this.#texts;
    const [only = ""] = taskIds;
    if (taskIds.length !== 1) return { ...query, text: readMany, values: [taskIds, true] };
    if (this.#large.size > 0 && this.#large.delete(only)) return { ...query, text: readLarge, values: [only] };
    if (isCareful) return { ...query, text: readMany, values: [taskIds, true] };
    if (this.#keptReadsLeft === 0) return { ...query, text: readOneWithSize, values: [taskIds, true] };
    this.#keptReadsLeft -= 1;
    return { ...query, text: readOne(this.#planNumber), values: taskIds };
  }

  #look(isLarge: boolean): void {
    if (isLarge && !this.#isLarge) this.#planNumber += 1;
    this.#isLarge = isLarge;
    this.#keptReadsLeft = isLarge ? readsPerLook : 0;
  }
}

/** Tells whether the text of the result, and that of the failure if it has one, were sent. */
const isWhole = ([, result, error, , , , , hasError]: Row): boolean => result !== null && (error !== null || !hasError);

function toFound(row: Row): Found<StoredResult> {
  const [taskId, result, error, time, isOld, , xid, , , traceContext = null, ageMs] = row;
  const times = { storedAt: Number(time), storedXid: Number(xid ?? 0) };
  const stored: StoredResult = isWhole(row)
    ? { taskId, result: result ?? "null", error, ...times }
    : { taskId, result: "null", error: null, isTooLarge: true, ...times };
  return { value: ageMs === undefined ? stored : { ...stored, traceContext, ageMs }, isOld };
}

/**
 * A condition that is always true, its parameter being `true`, and keeps a prepared statement from being planned once
 * for all: made while the table is almost empty, such a plan reads all of it, and would go on doing so when it is full.
 * With the parameter's value known the planner drops the condition, and without it the condition looks dear, so the
 * server plans anew each time (PostgreSQL docs, PREPARE: a generic plan has to look as cheap as the others), and saves
 * the parsing all the same.
 */
const plannedAnew = (parameter: string): string =>
  `(${parameter}::boolean or (select pg_catalog.count(*) from pg_catalog.generate_series(1, 100000000)) operator(pg_catalog.>) 0)`;

interface ReadTexts {
  /** Reads many results, of which it sends about a megabyte. */
  readonly readMany: string;
  /** Reads one result, unless it is large; also says whether the table is large. */
  readonly readOneWithSize: string;
  /**
   * The same, planned once for a session: for a table that is large then. The same number gives the same text, another
   * one a plan of its own.
   */
  readonly readOne: (planNumber: number) => string;
  /** Reads one result, however large. */
  readonly readLarge: string;
  /** The same as `readMany` and `readLarge`, for results that may take too much of the server. */
  readonly careful: { readonly readMany: string; readonly readLarge: string };
}

function readTexts(schema: string, maxResultBytes: number, isObserved: boolean): ReadTexts {
  const maxBytes = maxTextBytes(maxResultBytes);
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  // A query of its own within the other: it runs once, and not for each row, of which it would take as long as all the
  // rest (13 instead of 9 µs for a result, stored and read).
  const isLargeTable = `(select pg_catalog.pg_relation_size(${escapeLiteral(results)}::pg_catalog.regclass) operator(pg_catalog.>=) ${largeTableBytes})`;
  // Those that are there and not expired, with a flag for those stored more than a second ago: a listener that hears
  // would have told of them; for telemetry also with the span that stored them, and their age.
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
  const byIds = `${plannedAnew("$2")} and task_id operator(pg_catalog.=) any($1::pg_catalog.text[]) and ${isPresent}`;
  const byId = `task_id operator(pg_catalog.=) $1::pg_catalog.text and ${isPresent}`;
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
    // $1 text[] ids; $2 boolean true. Where a text is missing it has to be read again: with others if the row says so,
    // for which there was no room, and else by itself.
    readMany: many(shortText),
    // $1 text[] ids, of which there is one; $2 boolean true. Where a text is missing it is large, or too long.
    readOneWithSize: `${one(isLargeTable)} from ${results} where ${byIds}`,
    // $1 text id.
    readOne: (planNumber) => `${one("null::boolean")} from ${results} where ${byId} /* plan ${planNumber} */`,
    // $1 text id. Where a text is missing it is too long.
    readLarge: large(boundedText),
    careful: { readMany: many(carefulText.short), readLarge: large(carefulText.bounded) },
  };
}
