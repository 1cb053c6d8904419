import { maxDurationMs, typeName } from "../value/arguments";
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

const expressions = ["id", "succeeded", "failed", "result", "error"] as const;

/** Resolves a preset or the description of a table; throws a `TypeError` or `RangeError` for one that does not fit. */
export function resolveTable(queue: QueueName | QueueTable, schema: string | undefined): ResolvedTable {
  if (typeof queue === "string") {
    const preset = Object.hasOwn(queuePresets, queue) ? queuePresets[queue] : undefined;
    if (preset !== undefined) return { ...preset, schema: checkName(schema ?? preset.schema, "schema"), queue };
    const names = Object.keys(queuePresets).join(", ");
    throw new RangeError(`queue: expected ${names}, or the description of a table, got ${JSON.stringify(queue)}.`);
  }
  if (typeof queue !== "object" || (queue as unknown) === null)
    throw new TypeError(`queue: expected a name or the description of a table, got ${typeName(queue)}.`);
  const table = {
    queue: "table" as const,
    schema: checkName(schema ?? "public", "schema"),
    archive: undefined,
    table: checkName(queue.table, "table"),
    id: queue.id,
    succeeded: queue.succeeded,
    failed: queue.failed ?? "false",
    result: queue.result ?? "null::pg_catalog.jsonb",
    error: queue.error ?? "null::pg_catalog.jsonb",
  };
  for (const name of expressions) checkText(table[name], name);
  return table;
}

/** Resolves the table of `detachQueue`, which needs only its name. */
export function resolveName(
  queue: QueueName | Pick<QueueTable, "table">,
  schema: string | undefined,
): Pick<ResolvedTable, "schema" | "table"> {
  return resolveTable(typeof queue === "string" ? queue : { id: "''", succeeded: "false", ...queue }, schema);
}

/** The name of a table for messages. */
export const displayName = ({ schema, table }: Pick<ResolvedTable, "schema" | "table">): string => `${schema}.${table}`;

/** An interval of SQL; null for `Infinity`. */
export function intervalOf(ttlMs: number): string {
  return ttlMs === Infinity ? "null::interval" : `'${Math.min(ttlMs, maxDurationMs)} milliseconds'::interval`;
}

function checkText(text: unknown, what: string): void {
  if (typeof text !== "string") throw new TypeError(`${what}: expected a string, got ${typeName(text)}.`);
  if (text.trim() === "" || text.includes("\0"))
    throw new RangeError(`${what}: expected text without NUL, got ${JSON.stringify(text)}.`);
}

function checkName(name: unknown, what: string): string {
  checkText(name, what);
  return name as string;
}
