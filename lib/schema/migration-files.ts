import { escapeIdentifier, escapeLiteral } from "pg";
import { channelOf } from "../notifications/payload";
import { sqlFiles } from "../package-files";

export interface Migration {
  readonly version: number;
  /** The name of its file, without the ending. */
  readonly name: string;
  readonly sql: string;
}

/** Part of a migration that runs separately, so that no lock is held longer than this part takes. */
export type MigrationStep = TransactionStep | IndexStep | BatchesStep;

/** Statements that run in one transaction and lock at most one existing table. */
interface TransactionStep {
  readonly kind: "transaction";
  readonly title: string;
  readonly sql: string;
}

/** An index. If its table is large, the index is built concurrently, outside a transaction. */
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
}

/** All migrations, in order. */
export const migrations: readonly Migration[] = Object.entries(sqlFiles)
  .filter(([file]) => /^\d{4}_\w+\.sql$/.test(file))
  .map(([file, sql]) => ({ version: Number(file.slice(0, 4)), name: file.slice(0, -".sql".length), sql }));

/** SQL in steps like those of a migration: that recounts groups, and the functions that copy outcomes of a queue. */
export const { "recount.sql": recountSql = "", "attach.sql": attachSql = "" } = sqlFiles;

/** The version of the tables that this package works with. */
export const latestVersion: number = migrations.at(-1)?.version ?? 0;

/** Divides a migration at its markers. */
export function stepsOf(schema: string, sql: string): readonly MigrationStep[] {
  // -- @step TITLE; -- @index NAME on TABLE; -- @batches FUNCTION over TABLE: TITLE
  const [, ...parts] = sqlFor(schema, sql).split(/^-- @(?=(?:step|index|batches) )/m);
  return parts.map((part) => {
    const end = part.indexOf("\n");
    return toStep(part.slice(0, end), part.slice(end).trim());
  });
}

function toStep(marker: string, sql: string): MigrationStep {
  const index = /^index (?<index>\w+) on (?<table>\w+)$/.exec(marker)?.groups;
  if (index !== undefined) {
    const { index: name = "", table = "" } = index;
    return { kind: "index", title: `Index ${name}`, index: name, table, sql };
  }
  const batches = /^batches (?<pageFunction>\w+) over \w+: (?<title>.+)$/.exec(marker)?.groups;
  if (batches === undefined) return { kind: "transaction", title: marker.slice("step ".length), sql };
  const { pageFunction = "", title = "" } = batches;
  return { kind: "batches", title, pageFunction };
}

/** Returns the statement that builds an index without blocking writers. It cannot run in a transaction. */
export function concurrently({ sql }: IndexStep): string {
  return sql.replace(/^create index /m, "create index concurrently ");
}

/**
 * Inserts the name of the schema into the SQL of a migration. The dollar quotes around functions get a hash as their
 * tag, since a name that contains `$$` would end them. The replacement is a function, since `replaceAll` interprets
 * `$&` and the like in a string.
 */
export function sqlFor(schema: string, sql: string): string {
  const [name, tag] = [escapeIdentifier(schema), channelOf(schema)];
  return sql
    .replaceAll("@channel@", escapeLiteral(tag))
    .replaceAll("$$", () => `$${tag}$`)
    .replaceAll("$name$", () => `$${tag}_name$`)
    .replaceAll("@schema@.kojin", () => `${name}.kojin`);
}

/**
 * Returns the statement that creates the schema if it is missing. `create schema if not exists` would require the right
 * to create one even if it exists.
 */
export function createSchemaSql(schema: string): string {
  const block = `begin
  if not exists (select from pg_catalog.pg_namespace where nspname operator(pg_catalog.=) ${escapeLiteral(schema)}::pg_catalog.name) then
    create schema ${escapeIdentifier(schema)};
  end if;
end`;
  return `do ${escapeLiteral(block)};`;
}
