import { noDeadline } from "../database/caller-client";
import type { Query } from "../database/database";
import type { PayloadName } from "../notifications/payload";
import type { SqlClient } from "../result-backend";
import type { StoreRow } from "../value/encoding";
import { type EachAttempt, fencedWrite, type FirstAttempt, type WriteParts, type Written } from "./attempts";
import { OutcomeWriter } from "./outcome-writer";
import { StoreStatements } from "./store-statements";
import { encodingError, type FailureColumns, toDriverError } from "./write-errors";

export interface WriterParts extends WriteParts {
  readonly isTracing: boolean;
}

/** Stores outcomes of tasks. */
export class Writer extends OutcomeWriter<StoreRow, undefined> {
  protected override readonly what = "results";
  protected override readonly merge = (queued: StoreRow, added: StoreRow): StoreRow => (added.keep ? queued : added);
  readonly #statements: StoreStatements;

  constructor(parts: WriterParts) {
    super(parts);
    this.#statements = new StoreStatements(parts.options, parts.isTracing);
  }

  store(row: StoreRow): Promise<void> {
    return this.write(row.taskId, row);
  }

  /** Stores on the caller's client: immediately, without retries, and as part of its transaction. */
  async storeWith(client: SqlClient, row: StoreRow): Promise<void> {
    await this.parts.database.queryWith(client, this.#statements.forCaller(row)).catch((error: unknown) => {
      throw encodingError(error, row.taskId);
    });
  }

  /**
   * Deletes one result. Resolves with `true` if there was one. If the answer to a deletion is lost, the retry resolves
   * with `false`.
   */
  async delete(taskId: string, client?: SqlClient): Promise<boolean> {
    const { database, options } = this.parts;
    const query = { purpose: "delete a result", text: this.#statements.deletion };
    if (client !== undefined)
      return (await database.queryWith(client, { ...query, values: [taskId, noDeadline, null] })).length > 0;
    const rows = await fencedWrite(this.parts, options.retryTimeoutMs, async (attempt) => {
      const whenSent = (): Query => ({ ...query, values: [taskId, attempt.giveUpAt, attempt.guardedFrom()] });
      return database.query({ ...query, values: [], whenSent }, attempt.timeoutMs);
    });
    return rows.length > 0;
  }

  protected override kindOf({ keep }: StoreRow): string {
    return keep ? "keep" : "replace";
  }

  protected override sendTogether(rows: readonly StoreRow[], attempt: FirstAttempt): Promise<Written<undefined>> {
    const { followUp } = attempt;
    let replacesOlder = false;
    const whenSent = (): Query | undefined => {
      const calledAt = rows[0]?.keep === true ? undefined : attempt.calledAt();
      replacesOlder = calledAt !== undefined;
      return calledAt && { ...this.#statements.older(rows, attempt, calledAt), followUp };
    };
    // Not a spread, here and elsewhere on this path: it takes longer than to write the few names out.
    const { purpose, text, values } = this.#statements.first(rows, attempt);
    const query = { purpose, text, values, isPrepared: true, whenSent, followUp };
    return this.parts.database
      .query<Answer>(query, attempt.timeoutMs)
      .then(([answer]) => ({ outcomes: rows.map(() => undefined), times: timesOf(rows, answer, replacesOlder) }));
  }

  protected override async sendEach(attempt: EachAttempt<StoreRow>): Promise<Written<undefined>> {
    const query = this.#statements.each(attempt);
    const outcomes = attempt.rows.map((): undefined | Error => undefined);
    const times = attempt.rows.map((): undefined | number => undefined);
    type Columns = [place: number, writtenBy: string, ...FailureColumns];
    for (const [place, writtenBy, ...columns] of await this.parts.database.query<Columns>(query, attempt.timeoutMs))
      if (columns[0] === null) times[place - 1] = Number(writtenBy) / 1e6;
      else outcomes[place - 1] = this.parts.database.wrap(toDriverError(columns), query.purpose);
    return { outcomes, times };
  }

  protected override announcementOf(rows: readonly StoreRow[]): [name: PayloadName, ids: readonly string[]] {
    return ["ids", rows.map(({ taskId }) => taskId)];
  }
}

type Answer = [writtenBy: string, ids?: string];

/**
 * Returns the times at which rows were written. A statement that replaces only older results returns those that it
 * wrote, and no row for a result that it kept.
 */
function timesOf(
  rows: readonly StoreRow[],
  answer: Answer | undefined,
  replacesOlder: boolean,
): (number | undefined)[] {
  if (answer === undefined) return rows.map(() => undefined);
  const time = Number(answer[0]) / 1e6;
  if (!replacesOlder || rows.length === 1) return rows.map(() => time);
  const written = new Set(JSON.parse(answer[1] ?? "[]") as string[]);
  return rows.map(({ taskId }) => (written.has(taskId) ? time : undefined));
}
