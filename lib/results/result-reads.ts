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
 * A row of a single result, with as few columns as possible: the driver takes a microsecond for each. `facts` are the
 * columns from `storedAt` to `hasError` of {@link Row} in the order of {@link toRow}, with a space between two.
 */
type SingleRow = [
  result: string | null,
  error: string | null,
  facts: string,
  ...observed: [traceContext: string | null, ageMs: number] | [],
];

/**
 * 32 pages with about a thousand rows. The server estimates a full scan at six times the cost of an index lookup (52
 * against 8.3 with its default costs).
 */
const largeTableBytes = 32 * 8_192;

/** Number of reads with a kept plan before the size of the table is checked again. */
const readsPerLook = 16;

/**
 * Reads results of tasks. Statements are usually planned each time, since a plan made for an almost empty table scans
 * it, and would be kept when the table is full. But planning takes 0.05 of the 0.18 ms of a read, and most wake-ups are
 * for a single result. A single result is therefore read with a kept plan once the table is so large that no new plan
 * scans it. If the table has been small in between, the statement gets another name, and so a new plan.
 */
export class ResultReads {
  readonly #database: Database;
  readonly #texts: ReadTexts;
  /** Ids of results that turned out to be large, until they are read. */
  readonly #large = new Set<string>();
  #isLarge = false;
  #planNumber = 0;
  /** Reads one result with the kept plan. Composed once per plan, since it takes longer than to send it. */
  #readOne: string;
  #keptReadsLeft = 0;

  constructor({ database, options, isObserved }: SourceContext) {
    this.#database = database;
    this.#texts = readTexts(options.schema, options.maxResultBytes, isObserved);
    this.#readOne = this.#texts.readOne(this.#planNumber);
  }

  /** Reads about a megabyte of results, or one larger result. */
  read(taskIds: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<StoredResult>> {
    const query = this.#query(taskIds, care !== undefined);
    const [only = ""] = taskIds;
    const isSingle = query.text === this.#readOne || query.text === this.#texts.readOneWithSize;
    return this.#database.query<Row | SingleRow>(query, timeoutMs, care?.limitMs).then((answer) => {
      const rows = isSingle ? (answer as SingleRow[]).map((row) => toRow(only, row)) : (answer as Row[]);
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
    const { readOneWithSize, careful } = this.#texts;
    const { readMany, readLarge } = isCareful ? careful : this.#texts;
    const [only = ""] = taskIds;
    if (taskIds.length !== 1) return queryOf(readMany, [taskIds, true]);
    if (this.#large.size > 0 && this.#large.delete(only)) return queryOf(readLarge, [only]);
    if (isCareful) return queryOf(readMany, [taskIds, true]);
    if (this.#keptReadsLeft === 0) return queryOf(readOneWithSize, [taskIds, true]);
    this.#keptReadsLeft -= 1;
    return queryOf(this.#readOne, taskIds);
  }

  #look(isLarge: boolean): void {
    if (isLarge && !this.#isLarge) {
      this.#planNumber += 1;
      this.#readOne = this.#texts.readOne(this.#planNumber);
    }
    this.#isLarge = isLarge;
    this.#keptReadsLeft = isLarge ? readsPerLook : 0;
  }
}

const queryOf = (text: string, values: readonly unknown[]): Query => ({
  purpose: "read results",
  text,
  values,
  isPrepared: true,
  isPaced: true,
});

function toRow(taskId: string, [result, error, facts, ...observed]: SingleRow): Row {
  const [storedAt = "", isOld, isLargeTable, storedXid = "", hasError] = facts.split(" ");
  const size = isLargeTable === "" ? null : isLargeTable === "t";
  return [taskId, result, error, storedAt, isOld === "t", size, storedXid, hasError === "t", false, ...observed];
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
 * A condition that is always true, since its parameter is `true`. It makes the server plan a prepared statement each
 * time, but parse it only once. A kept plan that was made while the table was almost empty would scan it even when it
 * is full. If the value of the parameter is known, the planner drops the condition; without it, the condition makes a
 * generic plan look expensive (PostgreSQL docs, PREPARE: a generic plan is used only if its cost is no higher).
 */
const plannedAnew = (parameter: string): string =>
  `(${parameter}::boolean or (select pg_catalog.count(*) from pg_catalog.generate_series(1, 100000000)) operator(pg_catalog.>) 0)`;

interface ReadTexts {
  /** Reads many results, up to about a megabyte. */
  readonly readMany: string;
  /** Reads one result, unless it is large; also says whether the table is large. */
  readonly readOneWithSize: string;
  /**
   * The same with a plan that the session keeps, for a large table. Each number gives another statement, and so another
   * plan.
   */
  readonly readOne: (planNumber: number) => string;
  /** Reads one result, however large. */
  readonly readLarge: string;
  /** The same as `readMany` and `readLarge`, for results that may overload the server. */
  readonly careful: { readonly readMany: string; readonly readLarge: string };
}

function readTexts(schema: string, maxResultBytes: number, isObserved: boolean): ReadTexts {
  const maxBytes = maxTextBytes(maxResultBytes);
  const results = `${escapeIdentifier(schema)}.kojin_results`;
  // A subquery, so that it runs once and not for each row, where it would take as long as everything else (13 instead
  // of 9 µs for a result, stored and read).
  const isLargeTable = `(select pg_catalog.pg_relation_size(${escapeLiteral(results)}::pg_catalog.regclass) operator(pg_catalog.>=) ${largeTableBytes})`;
  const storedAt = microsOf("stored_at");
  const storedXid = "stored_xid::pg_catalog.text";
  // Set for a result stored more than a second ago, whose notification a working listener would have received.
  const isOld = `stored_at operator(pg_catalog.<) (pg_catalog.statement_timestamp() operator(pg_catalog.-) interval '1 second')`;
  // With telemetry also the storing span and the age.
  const observed = isObserved
    ? ", trace_context, (extract(epoch from pg_catalog.clock_timestamp() operator(pg_catalog.-) stored_at) operator(pg_catalog.*) 1000::numeric)::double precision"
    : "";
  const row = (size: string, result: string, error: string, isUnsent: string): string => `
      select task_id, ${result}, ${error}, ${storedAt}, ${isOld}, ${size}, ${storedXid}, error is not null, ${isUnsent}${observed}`;
  const one = (size: string): string => `
      select ${shortText("result", maxBytes)}, ${shortText("error", maxBytes)},
        pg_catalog.concat(${[storedAt, isOld, size, storedXid, "error is not null"].join(", ' ', ")})${observed}`;
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
    // $1 text[] ids; $2 boolean true. A result without text must be read again: together with others if the row says
    // that there was no room, and otherwise by itself.
    readMany: many(shortText),
    // $1 text[] with a single id; $2 boolean true. A result without text is large, or its text is too long.
    readOneWithSize: `${one(isLargeTable)} from ${results} where ${byIds}`,
    // $1 text id.
    readOne: (planNumber) => `${one("null::boolean")} from ${results} where ${byId} /* plan ${planNumber} */`,
    // $1 text id. A missing text is too long.
    readLarge: large(boundedText),
    careful: { readMany: many(carefulText.short), readLarge: large(carefulText.bounded) },
  };
}
