import { createHash } from "node:crypto";
import { escapeIdentifier, escapeLiteral } from "pg";
import { channelOf } from "../notifications/payload";
import { attachSql, stepsOf } from "../schema/migration-files";
import { intervalOf, type ResolvedTable, type TableName } from "./queue-table";

/** How outcomes are copied. */
export interface CopyRules {
  readonly prefix: string;
  readonly ttlMs: number;
  readonly maxResultBytes: number;
}

/** The beginning of the names of all functions that `attachQueue` creates. */
export const functionPrefix = "kojin_attached_";

/** The trigger on the table of a queue. Each schema of results has its own. */
export const triggerName = (schema: string): string => `${channelOf(schema)}_attached`;

/** The function of the trigger, without its schema. */
export const copyFunctionName = (table: TableName): string => `${functionPrefix}copy_${hashOf(table)}`;

/** A hash, since Postgres takes at most 63 bytes for a name. */
function hashOf({ schema, table }: TableName): string {
  return createHash("sha256")
    .update(JSON.stringify([schema, table]), "utf8")
    .digest("hex")
    .slice(0, 16);
}

export const qualifiedTable = ({ schema, table }: TableName): string =>
  `${escapeIdentifier(schema)}.${escapeIdentifier(table)}`;

/** The signatures of the functions that all attached tables share, for `drop function`. */
export const sharedFunctions = [
  `${functionPrefix}store(pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb, interval, bigint, boolean)`,
  `${functionPrefix}failure(pg_catalog.jsonb, bigint, int)`,
] as const;

/** Returns a query for the outcomes of the finished rows of `source`. Its line breaks end comments in expressions. */
export function outcomesOf(source: string, { prefix }: CopyRules, table: ResolvedTable): string {
  const { succeeded, failed, result, error } = table;
  return `select ${taskIdOf(prefix, table)} as task_id,
    case when (${succeeded}\n) then coalesce(pg_catalog.to_jsonb((${result}\n)), 'null'::pg_catalog.jsonb) end as result,
    case when (${succeeded}\n) then null
      else coalesce(pg_catalog.to_jsonb((${error}\n)), '{"message": "The job failed."}'::pg_catalog.jsonb)
    end as error
  from ${source} as job
  where (${succeeded}\n) or (${failed}\n)`;
}

const taskIdOf = (prefix: string, { id }: ResolvedTable): string =>
  `${escapeLiteral(prefix)}::pg_catalog.text operator(pg_catalog.||) (${id}\n)::pg_catalog.text`;

/** Returns a call that stores an outcome of a subquery, unless there is one that has not expired. */
export function storeCall(schema: string, outcome: string, { ttlMs, maxResultBytes }: CopyRules): string {
  const columns = ["task_id", "result", "error"].map((column) => `${outcome}.${column}`);
  const values = [...columns, intervalOf(ttlMs), `${maxResultBytes}::bigint`, "false"];
  return `${escapeIdentifier(schema)}.${functionPrefix}store(${values.join(", ")})`;
}

/** Returns the statements of `sql/attach.sql` for a table. */
export function functionsSql(schema: string, table: ResolvedTable, rules: CopyRules): string {
  const parts: Readonly<Record<string, string>> = {
    table: hashOf(table),
    outcome_of_new: outcomesOf("(select new.*)", rules, table),
    outcome_of_old: outcomesOf("(select old.*)", rules, table),
    task_id: taskIdOf(rules.prefix, table),
    succeeded: `${table.succeeded}\n`,
    failed: `${table.failed}\n`,
    ttl: intervalOf(rules.ttlMs),
    max_bytes: `${rules.maxResultBytes}::bigint`,
  };
  return stepsOf(schema, attachSql)
    .map((step) => ("sql" in step ? step.sql : ""))
    .join("\n")
    .replace(/@(\w+)@/g, (mark, name: string) => parts[name] ?? mark);
}
