import type { Database, Query } from "../database/database";
import type { StoredResult } from "../value/decoding";
import type { ResultStatements } from "./statements";
import type { Found, ReadAnswer, ReadCare } from "../waiting/read-attempts";

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

/** Reads by a plan that is kept, before the size of the table is asked for again. */
const readsPerLook = 16;

/**
 * Reads results of tasks, each statement planned anew: a plan that was made while the table was almost empty reads all of it, and would be kept when it is full. But to plan takes
 * 0.05 of the 0.18 ms of a read, and most wake-ups are for one result. So one result is read by a plan that is kept, once the table is so large that no plan made from then on
 * reads all of it; and under another name, so by another plan, when it has become small in between.
 */
export class ResultReads {
  readonly #database: Database;
  readonly #statements: ResultStatements;
  /** Results that have turned out to be large, until they are read. */
  readonly #large = new Set<string>();
  #isLarge = false;
  #planNumber = 0;
  #keptReadsLeft = 0;

  constructor(database: Database, statements: ResultStatements) {
    this.#database = database;
    this.#statements = statements;
  }

  /** Reads about a megabyte of results, or one that is larger. */
  read(taskIds: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<StoredResult>> {
    const query = this.#query(taskIds, care !== undefined);
    const reading =
      care?.limitMs === undefined
        ? this.#database.query<Row>(query, timeoutMs)
        : this.#database.queryLimited<Row>(query, care.limitMs, timeoutMs);
    return reading.then((rows) => {
      const isLarge = rows[0]?.[5] ?? null;
      if (isLarge !== null) this.#look(isLarge);
      const { readLarge, careful } = this.#statements;
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
    const { readOneWithSize, readOne, careful } = this.#statements;
    const { readMany, readLarge } = isCareful ? careful : this.#statements;
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

/** Whether the text of the result, and that of the failure if it has one, were sent. */
const isWhole = ([, result, error, , , , , hasError]: Row): boolean => result !== null && (error !== null || !hasError);

function toFound(row: Row): Found<StoredResult> {
  const [taskId, result, error, time, isOld, , xid, , , traceContext = null, ageMs] = row;
  const times = { storedAt: Number(time), storedXid: Number(xid ?? 0) };
  const stored: StoredResult = isWhole(row)
    ? { taskId, result: result ?? "null", error, ...times }
    : { taskId, result: "null", error: null, isTooLarge: true, ...times };
  return { value: ageMs === undefined ? stored : { ...stored, traceContext, ageMs }, isOld };
}
