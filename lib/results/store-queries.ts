import type { Query } from "../database/database";
import { escapeIdentifier } from "pg";
import { channelOf, encodeInline, encodePayloads } from "../notifications/payload";
import { writtenBy } from "./expressions";
import type { Attempt, EachAttempt, GuardedRow } from "./write-rules";
import { storeStatement, type StoreTexts, type StoreVariant } from "./store-statement";
import type { StoreRow } from "./store-row";
import { failureColumns } from "./write-errors";

export interface StoreQueryOptions {
  readonly schema: string;
  readonly inlineResultBytes: number;
  readonly isTracing: boolean;
  /** Longest wait for a lock of a row, where the transaction is our own. */
  readonly rowLockTimeoutMs: number;
  /** Longest wait for the lock of the notification, once rows are not stored together any more. */
  readonly lockTimeoutMs: number;
}

type Mode = "replace" | "keep";
type TextsByMode = Readonly<Record<Mode, StoreTexts>>;

const eachTypes = [
  ...[
    "pg_catalog.text[]",
    "pg_catalog.text[]",
    "pg_catalog.text[]",
    "double precision[]",
    "pg_catalog.text[]",
    "boolean[]",
  ],
  ...[
    "double precision[]",
    "double precision[]",
    "double precision",
    "boolean",
    "int",
    "int",
    "int",
    "pg_catalog.text",
  ],
];
const eachParameters = eachTypes.map((type, index) => `$${index + 1}::${type}`).join(", ");

export const modeOf = (row: StoreRow): Mode => (row.keep ? "keep" : "replace");

/** Which statement stores rows, and with what parameters. */
export class StoreQueries {
  readonly #options: StoreQueryOptions;
  readonly #byTriggers: TextsByMode;
  readonly #byNobody: TextsByMode;
  readonly #byStatement: StoreTexts;
  readonly #inline: StoreTexts;
  readonly #callers: TextsByMode;
  /** For rows that have waited for long. Announced by the triggers, which know the rows that were written. */
  readonly #guarded: Readonly<Record<"loud" | "silent", StoreTexts>>;

  constructor(options: StoreQueryOptions) {
    this.#options = options;
    const { schema, isTracing: traced, inlineResultBytes: inlineBytes, rowLockTimeoutMs: lockTimeoutMs } = options;
    const shared = { traced, inlineBytes, lockTimeoutMs, keep: false, guarded: false };
    const byMode = (variant: Omit<StoreVariant, "keep">): TextsByMode => ({
      replace: storeStatement(schema, { ...variant, keep: false }),
      keep: storeStatement(schema, { ...variant, keep: true }),
    });
    this.#byTriggers = byMode({ ...shared, announcedBy: "triggers" });
    this.#byNobody = byMode({ ...shared, announcedBy: "nobody" });
    this.#byStatement = storeStatement(schema, { ...shared, announcedBy: "statement" });
    this.#inline = storeStatement(schema, { ...shared, announcedBy: "inline" });
    this.#guarded = {
      loud: storeStatement(schema, { ...shared, guarded: true, announcedBy: "triggers" }),
      silent: storeStatement(schema, { ...shared, guarded: true, announcedBy: "nobody" }),
    };
    // To tell the triggers to stand down would silence what else the caller does in that transaction.
    this.#callers = byMode({ ...shared, announcedBy: "triggers", lockTimeoutMs: undefined });
  }

  /** For rows of one mode, in a transaction of their own. */
  own(rows: readonly StoreRow[], { isSilent, giveUpAt }: Attempt): Query {
    const [row] = rows;
    const mode = row === undefined ? "replace" : modeOf(row);
    if (isSilent) return this.#query(this.#byNobody[mode], rows, giveUpAt);
    // Only the triggers know which of the rows were kept, and the size that a result of many has as jsonb.
    const { inlineResultBytes } = this.#options;
    if (mode === "keep" || (inlineResultBytes > 0 && rows.length > 1))
      return this.#query(this.#byTriggers[mode], rows, giveUpAt);
    const inline = row === undefined ? undefined : encodeInline(row, inlineResultBytes);
    if (inline !== undefined) return this.#query(this.#inline, rows, giveUpAt, ...inline);
    const payloads = encodePayloads(
      "ids",
      rows.map(({ taskId }) => taskId),
    );
    return this.#query(this.#byStatement, rows, giveUpAt, rows.length === 1 ? payloads[0] : payloads);
  }

  /** The same, for rows that have waited since the server's times `calledAt`: what was stored later stays. */
  guarded(rows: readonly StoreRow[], { isSilent, giveUpAt }: Attempt, calledAt: readonly number[]): Query {
    const times = rows.length === 1 ? calledAt[0] : JSON.stringify(timesById(rows, calledAt));
    return { ...this.#query(this.#guarded[isSilent ? "silent" : "loud"], rows, giveUpAt, times), isPrepared: false };
  }

  /** For rows of any mode, of which each may fail alone. Returns the place of each row that failed, and how, and of each that was written. */
  each(rows: readonly GuardedRow<StoreRow>[], attempt: EachAttempt): Query {
    const { schema, lockTimeoutMs } = this.#options;
    const column = (valueOf: (guarded: GuardedRow<StoreRow>) => unknown): unknown[] => rows.map(valueOf);
    const values = [
      column(({ row }) => row.taskId),
      column(({ row }) => row.result),
      column(({ row }) => row.error ?? ""),
      column(({ row }) => row.ttlMs ?? -1),
      column(({ row }) => row.traceContext ?? ""),
      column(({ row }) => row.keep),
      column(({ calledAt }) => calledAt),
      column(({ dueAt }) => dueAt),
      attempt.giveUpAt,
      attempt.isOneByOne,
      Math.round(attempt.rowLockMs),
      Math.round(attempt.lockBudgetMs),
      Math.round(lockTimeoutMs),
      attempt.isSilent ? null : channelOf(schema),
    ];
    const text = `select place, ${writtenBy}, ${failureColumns} from ${escapeIdentifier(schema)}.kojin_store_each(${eachParameters})`;
    return { purpose: "store results", text, values };
  }

  /** For one row, in a transaction of the caller's. */
  callers(row: StoreRow): Query {
    return this.#query(this.#callers[modeOf(row)], [row]);
  }

  #query({ one, many }: StoreTexts, rows: readonly StoreRow[], ...more: readonly unknown[]): Query {
    const [row] = rows;
    const query = { purpose: "store results", isPrepared: true };
    const { isTracing } = this.#options;
    if (row !== undefined && rows.length === 1) {
      const values: unknown[] = [row.taskId, row.result, row.error, row.ttlMs];
      if (isTracing) values.push(row.traceContext ?? null);
      return { ...query, text: one, values: [...values, ...more] };
    }
    const columns: unknown[][] = [
      rows.map((row) => row.taskId),
      rows.map((row) => row.result),
      rows.map((row) => row.error ?? ""),
      rows.map((row) => row.ttlMs ?? -1),
    ];
    if (isTracing) columns.push(rows.map((row) => row.traceContext ?? ""));
    return { ...query, text: many, values: [...columns, ...more] };
  }
}

const timesById = (rows: readonly StoreRow[], calledAt: readonly number[]): object =>
  Object.fromEntries(rows.map(({ taskId }, index) => [taskId, calledAt[index]]));
