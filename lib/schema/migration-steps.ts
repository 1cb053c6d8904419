import { escapeIdentifier, escapeLiteral } from "pg";
import { channelOf } from "../notifications/channel";

/** Part of a migration that runs by itself, so that no lock is held for longer than this part takes. */
export type MigrationStep = TransactionStep | IndexStep | BatchesStep;

/** Statements that run in one transaction. Each step locks one existing table at most. */
interface TransactionStep {
  readonly kind: "transaction";
  readonly title: string;
  readonly sql: string;
}

/** An index. Where its table is large, it is built concurrently, outside a transaction. */
export interface IndexStep {
  readonly kind: "index";
  readonly title: string;
  readonly index: string;
  readonly table: string;
  readonly sql: string;
}

/** A function that is called for one page of rows after another, each in its own transaction. */
export interface BatchesStep {
  readonly kind: "batches";
  readonly title: string;
  readonly pageFunction: string;
  /** The table that is paged through. */
  readonly table: string;
}

/** Divides a migration at its markers: `-- @step TITLE`, `-- @index NAME on TABLE`, `-- @batches FUNCTION over TABLE: TITLE`. */
export function stepsOf(schema: string, sql: string): readonly MigrationStep[] {
  const [, ...parts] = sqlFor(schema, sql).split(/^-- @(?=(?:step|index|batches) )/m);
  return parts.map((part) => {
    const end = part.indexOf("\n");
    const [head, body] = [part.slice(0, end), part.slice(end).trim()];
    const index = /^index (\w+) on (\w+)$/.exec(head);
    if (index !== null)
      return { kind: "index", title: `Index ${index[1]}`, index: index[1] ?? "", table: index[2] ?? "", sql: body };
    const batches = /^batches (\w+) over (\w+): (.+)$/.exec(head);
    if (batches !== null) {
      const [, pageFunction = "", table = "", title = ""] = batches;
      return { kind: "batches", title, pageFunction, table };
    }
    return { kind: "transaction", title: head.slice("step ".length), sql: body };
  });
}

/** Handles one page: $1 the cursor, null for the first page, $2 rows. Returns the next cursor, null after the last page, and the rows that were looked at. */
export function pageQuery(schema: string, { pageFunction }: BatchesStep): string {
  const name = `${escapeIdentifier(schema)}.${pageFunction}`;
  return `select next_cursor, page_rows from ${name}($1::pg_catalog.text, $2::int)`;
}

/** The statement that builds an index without blocking writers. It cannot run in a transaction. */
export function concurrently({ sql }: IndexStep): string {
  return sql.replace(/^create index /m, "create index concurrently ");
}

/**
 * The SQL of a migration with the name of the schema in its place. The quotes around functions get that name's hash, which the name itself does not contain: it may hold `$$`,
 * and would end them. And it is put there by a function, since `replaceAll` reads `$&` and the like in a text.
 */
export function sqlFor(schema: string, sql: string): string {
  const [name, tag] = [escapeIdentifier(schema), channelOf(schema)];
  return sql
    .replaceAll("@channel@", escapeLiteral(tag))
    .replaceAll("$$", () => `$${tag}$`)
    .replaceAll("$name$", () => `$${tag}_name$`)
    .replaceAll("@schema@.kojin", () => `${name}.kojin`);
}
