import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { functionsSql } from "../lib/attach/copy-functions";
import { type QueueName, queuePresets } from "../lib/attach/presets";
import { resolveTables } from "../lib/attach/queue-table";
import { migrations, recountSql, sqlFor } from "../lib/schema/migration-files";
import { sqlLiterals, unqualifiedWords } from "./sql/sql-literals";
import { loadParser, sqlNames, transitionTablesOf, type UnqualifiedName } from "./sql/sql-names";

/**
 * Fails if SQL of this package contains a name that Postgres looks up along the search path, where another role may
 * have created an object of that name. Checks the migrations and sql/roles.sql with Postgres's own parser, including
 * function bodies, and each SQL literal in lib/. spec/security/statements.spec.ts checks every statement sent with the
 * same parser. Arguments filter by path: `npm run check:sql -- lib/groups`.
 */
const root = join(__dirname, "..");

async function main(): Promise<number> {
  await loadParser();
  const places = process.argv.slice(2);
  const found = [...migrationNames(), ...rolesNames(), ...literalNames()].filter(
    ({ what }) => places.length === 0 || places.some((place) => what.startsWith(place)),
  );
  for (const { what, context } of found) console.error(`${what}\n    ${context}`);
  if (found.length > 0) {
    console.error(
      `\n${found.length} names are looked up along the search path. Qualify them: pg_catalog.name(…), operator(pg_catalog.=), ::pg_catalog.text.`,
    );
    return 1;
  }
  console.log("Every name in sql/ and lib/ is qualified.");
  return 0;
}

function migrationNames(): UnqualifiedName[] {
  const schema = 'a schema "with quotes"';
  const texts = [...migrations, { name: "recount", sql: recountSql }].map(({ name, sql }) => ({
    name,
    text: sqlFor(schema, sql),
  }));
  const rules = { prefix: "", ttlMs: Infinity, maxResultBytes: 1 };
  for (const queue of Object.keys(queuePresets) as QueueName[])
    for (const table of resolveTables(queue, undefined))
      texts.push({ name: `attach (${queue})`, text: functionsSql(schema, table, rules) });
  const transitionTables = texts.flatMap(({ text }) => transitionTablesOf(text));
  return texts.flatMap(({ name, text }) =>
    placed(`sql/${name}.sql`, sqlNames(text, { schemas: [schema], transitionTables }).unqualified),
  );
}

function rolesNames(): UnqualifiedName[] {
  const text = readFileSync(join(root, "sql", "roles.sql"), "utf8");
  return placed("sql/roles.sql", sqlNames(text, { schemas: ["public"] }).unqualified);
}

function literalNames(): UnqualifiedName[] {
  const files = readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  return files.sort().flatMap((file) => {
    const path = join(root, "lib", file);
    const literals = sqlLiterals(path, readFileSync(path, "utf8"));
    return literals.flatMap((each) => placed(`${relative(root, path)}:${each.line}`, unqualifiedWords(each)));
  });
}

const placed = (place: string, names: readonly UnqualifiedName[]): UnqualifiedName[] =>
  names.map(({ what, context }) => ({ what: `${place}: ${what}`, context }));

void main().then((exitCode) => (process.exitCode = exitCode));
