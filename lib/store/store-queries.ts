import type { Query } from "../database/database";
import { encodeHints, encodeInline } from "../notify/hint";
import { type AnnouncedBy, storeStatement, type StoreTexts, type StoreVariant } from "./store-statement";
import type { StoreRow } from "./store-row";

export interface StoreQueryOptions {
  readonly schema: string;
  readonly inlineResultBytes: number;
  readonly isTracing: boolean;
  /** Longest wait for a lock, where the transaction is our own. */
  readonly lockTimeoutMs: number;
}

type Mode = "replace" | "keep";
type TextsByMode = Readonly<Record<Mode, StoreTexts>>;

export const modeOf = (row: StoreRow): Mode => (row.keep ? "keep" : "replace");

/** Which statement stores rows, and with what parameters. */
export class StoreQueries {
  readonly #options: StoreQueryOptions;
  readonly #own: Readonly<Record<AnnouncedBy, TextsByMode>>;
  readonly #callers: TextsByMode;

  constructor(options: StoreQueryOptions) {
    this.#options = options;
    const { schema, isTracing: traced, inlineResultBytes: inlineBytes, lockTimeoutMs } = options;
    const textsOf = (variant: Pick<StoreVariant, "announcedBy" | "lockTimeoutMs">): TextsByMode => ({
      replace: storeStatement(schema, { ...variant, traced, inlineBytes, keep: false }),
      keep: storeStatement(schema, { ...variant, traced, inlineBytes, keep: true }),
    });
    this.#own = {
      triggers: textsOf({ announcedBy: "triggers", lockTimeoutMs }),
      statement: textsOf({ announcedBy: "statement", lockTimeoutMs }),
      inline: textsOf({ announcedBy: "inline", lockTimeoutMs }),
      nobody: textsOf({ announcedBy: "nobody", lockTimeoutMs }),
    };
    // To tell the triggers to stand down would silence what else the caller does in that transaction.
    this.#callers = textsOf({ announcedBy: "triggers", lockTimeoutMs: undefined });
  }

  /** For rows of one mode, in a transaction of their own. */
  own(rows: readonly StoreRow[], isSilent: boolean): Query {
    const [row] = rows;
    const mode = row === undefined ? "replace" : modeOf(row);
    if (isSilent) return this.#query(this.#own.nobody[mode], rows);
    // Only the triggers know which of the rows were kept, and the size that a result of many has as jsonb.
    const { inlineResultBytes } = this.#options;
    if (mode === "keep" || (inlineResultBytes > 0 && rows.length > 1))
      return this.#query(this.#own.triggers[mode], rows);
    const inline = row === undefined ? undefined : encodeInline(row, inlineResultBytes);
    if (inline !== undefined) return this.#query(this.#own.inline.replace, rows, ...inline);
    const payloads = encodeHints(
      "ids",
      rows.map(({ taskId }) => taskId),
    );
    return this.#query(this.#own.statement.replace, rows, rows.length === 1 ? payloads[0] : payloads);
  }

  /** For one row, in a transaction of the caller's. */
  callers(row: StoreRow): Query {
    return this.#query(this.#callers[modeOf(row)], [row]);
  }

  #query({ one, many }: StoreTexts, rows: readonly StoreRow[], ...payload: readonly unknown[]): Query {
    const [row] = rows;
    const query = { purpose: "store results", isPrepared: true };
    const { isTracing } = this.#options;
    if (row !== undefined && rows.length === 1) {
      const values: unknown[] = [row.taskId, row.result, row.error, row.ttlMs];
      if (isTracing) values.push(row.traceContext ?? null);
      return { ...query, text: one, values: [...values, ...payload] };
    }
    const columns: unknown[][] = [
      rows.map((row) => row.taskId),
      rows.map((row) => row.result),
      rows.map((row) => row.error),
      rows.map((row) => row.ttlMs),
    ];
    if (isTracing) columns.push(rows.map((row) => row.traceContext ?? null));
    return { ...query, text: many, values: [...columns, ...payload] };
  }
}
