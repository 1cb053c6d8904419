import { escapeIdentifier, escapeLiteral } from "pg";
import { checkSchemaName } from "../options";
import { checkInteger } from "../value/arguments";
import { type Migration, migrations, sqlFor, versionTable } from "./migration-files";
import { lockKey } from "./migrations";

export interface MigrationScriptOptions {
  /** The schema that holds the tables. Default `public`. */
  readonly schema?: string;
  /** The version that the tables have already: only what is newer is given. 0 or more; default 0, everything. */
  readonly after?: number;
}

/**
 * The SQL that `migrate()` runs, as one script for psql or a migration tool of your own. It may be run again. Empty if there is nothing newer than `after`.
 */
export function migrationScript({ schema = "public", after = 0 }: MigrationScriptOptions = {}): string {
  checkSchemaName(schema);
  checkInteger(after, "after", 0);
  const chosen = migrations().filter(({ version }) => version > after);
  if (chosen.length === 0) return "";
  return [
    `-- kojin-postgres: ${chosen.map(({ name: title }) => title).join(", ")} for schema ${JSON.stringify(schema)}.
-- Where your tool opens a transaction itself, leave out "begin" and "commit".
begin;
${prelude(schema)}
${versionTable(schema).create};\n`,
    ...chosen.map((migration) => stepOf(schema, migration)),
    "commit;\n",
  ].join("\n");
}

function stepOf(schema: string, migration: Migration): string {
  const { version, name } = migration;
  return `-- ${name}\n
${sqlFor(schema, migration).trim()}

insert into ${versionTable(schema).name} (version, name) values (${version}, ${escapeLiteral(name)}) on conflict (version) do nothing;\n`;
}

function prelude(schema: string): string {
  return `select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(${escapeLiteral(lockKey(schema))}, 0));
do ${escapeLiteral(createSchemaBlock(schema))};
set local search_path = ${escapeIdentifier(schema)}, pg_temp;`;
}

/** `create schema if not exists` asks for the right to create one even where it exists. */
function createSchemaBlock(schema: string): string {
  return `begin
  if not exists (select from pg_catalog.pg_namespace where nspname = ${escapeLiteral(schema)}) then
    create schema ${escapeIdentifier(schema)};
  end if;
end`;
}
