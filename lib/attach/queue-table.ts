import { checkOptions, maxDurationMs, type OptionNames, typeName } from "../value/arguments";
import { type QueueName, queuePresets } from "./presets";

/**
 * A table of jobs, for `attachQueue`. Each field but `table` is an SQL expression over the columns of one row. It is
 * evaluated with `search_path = pg_catalog, pg_temp`, so qualify the names of your own functions and types.
 */
export interface QueueTable {
  readonly table: string;
  /** The id of the job; converted to text. Up to 512 bytes. */
  readonly id: string;
  /** True once the job has succeeded for good. */
  readonly succeeded: string;
  /** True once the job has failed and is not tried again. Default: never. */
  readonly failed?: string;
  /** The result of a job that has succeeded, of any type that JSON can hold. Default: null. */
  readonly result?: string;
  /**
   * The error of a job that has failed: an object with `message` and perhaps `name`, `code`, `details` and `cause`, or
   * a text. Default: none.
   */
  readonly error?: string;
}

/** A table of jobs and its place, with all defaults. */
export interface ResolvedTable extends Required<QueueTable> {
  /** The name of the preset, or `table`. */
  readonly queue: QueueName | "table";
  readonly schema: string;
  /** Another table with the same columns, to which the queue moves older jobs. */
  readonly archive: string | undefined;
}

/** The place of a table. */
export type TableName = Pick<ResolvedTable, "schema" | "table">;

const tableNames: OptionNames<QueueTable> = {
  table: true,
  id: true,
  succeeded: true,
  failed: true,
  result: true,
  error: true,
};
const expressions = ["table", "id", "succeeded", "failed", "result", "error"] as const;

/** Resolves a preset or the description of a table; throws a `TypeError` or `RangeError` for one that does not fit. */
export function resolveTables(queue: QueueName | QueueTable, schema: string | undefined): readonly ResolvedTable[] {
  if (schema !== undefined) checkText(schema, "schema");
  if (typeof queue === "string") {
    const preset = Object.hasOwn(queuePresets, queue) ? queuePresets[queue] : undefined;
    if (preset !== undefined)
      return preset.tables.map((table) => ({ archive: undefined, ...table, schema: schema ?? preset.schema, queue }));
    const names = Object.keys(queuePresets).join(", ");
    throw new RangeError(`queue: expected ${names}, or the description of a table, got ${JSON.stringify(queue)}.`);
  }
  if (typeof queue !== "object" || (queue as unknown) === null)
    throw new TypeError(`queue: expected a name or the description of a table, got ${typeName(queue)}.`);
  checkOptions(queue, tableNames);
  const { failed = "false", result = "null::pg_catalog.jsonb", error = "null::pg_catalog.jsonb" } = queue;
  const table = { ...queue, failed, result, error };
  for (const name of expressions) checkText(table[name], name);
  return [{ ...table, queue: "table", schema: schema ?? "public", archive: undefined }];
}

/** Resolves the tables of `detachQueue`, which needs only their names. */
export function resolveNames(
  queue: QueueName | Pick<QueueTable, "table">,
  schema: string | undefined,
): readonly TableName[] {
  return resolveTables(typeof queue === "string" ? queue : { id: "''", succeeded: "false", ...queue }, schema);
}

/** The name of a table for messages. */
export const displayName = ({ schema, table }: TableName): string => `${schema}.${table}`;

/** An interval of SQL; null for `Infinity`. */
export function intervalOf(ttlMs: number): string {
  return ttlMs === Infinity ? "null::interval" : `'${Math.min(ttlMs, maxDurationMs)} milliseconds'::interval`;
}

function checkText(text: unknown, what: string): void {
  if (typeof text !== "string") throw new TypeError(`${what}: expected a string, got ${typeName(text)}.`);
  if (text.trim() === "" || text.includes("\0"))
    throw new RangeError(`${what}: expected text without NUL, got ${JSON.stringify(text)}.`);
}
