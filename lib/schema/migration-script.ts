import { escapeIdentifier, escapeLiteral } from "pg";
import { channelOf } from "../notifications/payload";
import { checkSchemaName } from "../options";
import { checkInteger } from "../value/arguments";
import {
  concurrently,
  createSchemaSql,
  type Migration,
  migrations,
  type MigrationStep,
  stepsOf,
} from "./migration-files";
import { lockKey } from "./migration-lock";
import { VersionTable } from "./schema-check";

export interface MigrationScriptOptions {
  /** The schema that holds the tables. Default `public`. */
  readonly schema?: string;
  /** Current version of the tables. The script contains only newer migrations. 0 or more; default 0, all migrations. */
  readonly after?: number;
  /**
   * Does not block writers of large tables: each step is a separate transaction, and indexes are built concurrently.
   * Run such a script with psql, which sends one statement at a time. Default `false`: one transaction, which any
   * migration tool can run.
   */
  readonly online?: boolean;
}

/**
 * Returns the SQL that `migrate()` runs, as one script for psql or a migration tool. It may be run repeatedly. Empty if
 * there is nothing newer than `after`.
 */
export function migrationScript({ schema = "public", after = 0, online = false }: MigrationScriptOptions = {}): string {
  checkSchemaName(schema);
  checkInteger(after, "after", 0);
  const chosen = migrations.filter(({ version }) => version > after);
  if (chosen.length === 0) return "";
  const title = `-- kojin-postgres: ${chosen.map(({ name }) => name).join(", ")} for schema ${asComment(schema)}.`;
  return online ? onlineScript(schema, title, chosen) : plainScript(schema, title, chosen);
}

function plainScript(schema: string, title: string, chosen: readonly Migration[]): string {
  const begin = `${title}
-- One transaction, which blocks writers of tables that exist already until it ends. If your tool opens a transaction
-- itself, leave out "begin" and "commit".
begin;
select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(${escapeLiteral(lockKey(schema))}, 0));
${prelude(schema, "set local")}`;
  const toSql = (step: MigrationStep): string =>
    step.kind === "batches" ? pageLoop(schema, step.pageFunction, false) : step.sql;
  return [begin, ...statementsOf(schema, chosen, toSql), "commit;\n"].join("\n\n");
}

function onlineScript(schema: string, title: string, chosen: readonly Migration[]): string {
  const begin = `${title}
-- For psql: psql --set ON_ERROR_STOP=1 --file SCRIPT. Writers go on meanwhile. Statements between "begin" and "commit"
-- are a transaction; the rest must run outside of one: indexes, which are built concurrently, and loops, which commit
-- after each page of rows. A step that gets no lock within 700 ms ends the script: run it again, from the start.
set lock_timeout = '700ms';
set statement_timeout = 0;
${prelude(schema, "set")}`;
  const end = "reset search_path;\nreset statement_timeout;\nreset lock_timeout;\n";
  return [begin, ...statementsOf(schema, chosen, (step) => onlineStep(schema, step)), end].join("\n\n");
}

function statementsOf(
  schema: string,
  chosen: readonly Migration[],
  toSql: (step: MigrationStep) => string,
): readonly string[] {
  return chosen.flatMap((migration) => [
    `-- ${migration.name}`,
    ...stepsOf(schema, migration.sql).map(toSql),
    new VersionTable(schema).recordSql(migration),
  ]);
}

function onlineStep(schema: string, step: MigrationStep): string {
  switch (step.kind) {
    case "transaction":
      return `-- ${step.title}\nbegin;\n${step.sql}\ncommit;`;
    case "index": {
      // An interrupted build leaves an index that is not valid, which "if not exists" would keep.
      const name = `${escapeIdentifier(schema)}.${step.index}`;
      return `-- ${step.title}
do ${escapeLiteral(dropInvalidBlock(schema, step.index, name))};
set lock_timeout = 0;
${concurrently(step)}
set lock_timeout = '700ms';`;
    }
    case "batches":
      return `-- ${step.title}\n${pageLoop(schema, step.pageFunction, true)}`;
  }
}

function dropInvalidBlock(schema: string, index: string, name: string): string {
  return `begin
  if exists (
    select from pg_catalog.pg_index as state
    join pg_catalog.pg_class as found on found.oid operator(pg_catalog.=) state.indexrelid
    join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) found.relnamespace
    where namespace.nspname operator(pg_catalog.=) ${escapeLiteral(schema)}::pg_catalog.name
      and found.relname operator(pg_catalog.=) ${escapeLiteral(index)}::pg_catalog.name and not state.indisvalid
  ) then
    drop index ${name};
  end if;
end`;
}

function pageLoop(schema: string, pageFunction: string, commits: boolean): string {
  const tag = `$${channelOf(schema)}_loop$`;
  return `do ${tag}
declare
  after_key pg_catalog.text;
begin
  loop
    after_key := (select next_cursor from ${escapeIdentifier(schema)}.${pageFunction}(after_key, 2000));
    ${commits ? "commit;\n    " : ""}exit when after_key is null;
  end loop;
end
${tag};`;
}

function prelude(schema: string, set: string): string {
  return `${createSchemaSql(schema)}
${set} search_path = pg_catalog, pg_temp;
${new VersionTable(schema).createSql};`;
}

/** Returns a text on one line, in characters that every encoding has. */
function asComment(text: string): string {
  return JSON.stringify(text).replace(/[^ -~]/g, "?");
}
