import type { Query } from "../database/database";
import type { StoredResult } from "../notify/hint";
import type { ResultStatements } from "../store/statements";
import type { Interest } from "./interest";
import type { Found } from "./loader";

type Row = [
  taskId: string,
  result: string,
  error: string | null,
  storedAt: string,
  isOld: boolean,
  isLargeTable: boolean | null,
  storedXid: string | null,
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
  readonly #interest: Interest;
  readonly #statements: ResultStatements;
  #isLarge = false;
  #planNumber = 0;
  #keptReadsLeft = 0;

  constructor(interest: Interest, statements: ResultStatements) {
    this.#interest = interest;
    this.#statements = statements;
  }

  read(taskIds: readonly string[], timeoutMs: number): Promise<Map<string, Found<StoredResult>>> {
    return this.#interest.database.query<Row>(this.#query(taskIds), timeoutMs).then((rows) => {
      const isLarge = rows[0]?.[5] ?? null;
      if (isLarge !== null) this.#look(isLarge);
      return new Map(rows.map((row) => [row[0], { value: toStored(row), isOld: row[4] }]));
    });
  }

  #query(taskIds: readonly string[]): Query {
    const query = { purpose: "read results", isPrepared: true };
    const { readWithSize, readOne } = this.#statements;
    if (taskIds.length > 1 || this.#keptReadsLeft === 0)
      return { ...query, text: readWithSize, values: [taskIds, true] };
    this.#keptReadsLeft -= 1;
    return { ...query, text: readOne(this.#planNumber), values: taskIds };
  }

  #look(isLarge: boolean): void {
    if (isLarge && !this.#isLarge) this.#planNumber += 1;
    this.#isLarge = isLarge;
    this.#keptReadsLeft = isLarge ? readsPerLook : 0;
  }
}

function toStored([taskId, result, error, time, , , xid, traceContext = null, ageMs]: Row): StoredResult {
  const stored = { taskId, result, error, storedAt: Number(time), storedXid: Number(xid ?? 0) };
  return ageMs === undefined ? stored : { ...stored, traceContext, ageMs };
}
