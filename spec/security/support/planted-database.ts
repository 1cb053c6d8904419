import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Client, type ClientBase, Pool, type PoolConfig, escapeIdentifier, escapeLiteral } from "pg";
import { migrations } from "../../../lib/schema/migration-files";
import { sqlLiterals } from "../../../tools/sql/sql-literals";
import { withParameter } from "../../support/spec-database";

/**
 * Types that our parameters and literals may have, and for which another role may have created a better match than
 * Postgres's own.
 */
const types = ["text", "varchar", "name", "int", "bigint", "numeric", "float8", "boolean", "timestamptz", "interval"];
const moreTypes = ["jsonb", "json", "regclass", "uuid", "oid", '"char"', "text[]", "int[]", "bigint[]", "jsonb[]"];
const allTypes = [...types, ...moreTypes];
const operatorNames = ["=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "~", "~~", "~~*", "->", "->>"];

/**
 * A database in which another role, with the right to create objects in `public` and in the tables' schema, has planted
 * functions, operators, types and tables under the names that this package uses. Each records its use.
 */
export class PlantedDatabase {
  readonly url: string;
  readonly #server: string;
  readonly #name: string;
  readonly #planter: string;
  readonly #pools: Pool[] = [];
  #admin: Pool | undefined;

  constructor(what: string) {
    this.#server = process.env["DATABASE_URL"] ?? "";
    this.#name = `planted_${what}_${process.pid}`;
    this.#planter = `planter_${what}_${process.pid}`;
    const url = new URL(this.#server);
    url.pathname = `/${this.#name}`;
    this.url = url.href;
  }

  get admin(): Pool {
    return (this.#admin ??= this.pool({ connectionString: withParameter(this.url, "application_name", "spec admin") }));
  }

  /** Creates the database, with roles that can log in. */
  async create(roles: readonly string[]): Promise<void> {
    await this.#onServer([
      `create database ${this.#name}`,
      ...[this.#planter, ...roles].map((role) => `create role ${role} login password 'x'`),
    ]);
    await this.admin.query(
      `create table public.planted_runs (what pg_catalog.text, ran_as pg_catalog.text);
       grant insert on public.planted_runs to public;
       create function public.planted_note(what pg_catalog.text) returns boolean language plpgsql as $$
         begin insert into public.planted_runs values (what, current_user); return true; end $$;
       create function public.planted_create(statements pg_catalog.text[]) returns int language plpgsql as $$
         declare each pg_catalog.text; created int := 0;
         begin
           foreach each in array statements loop
             begin execute each; created := created + 1; exception when others then null; end;
           end loop;
           return created;
         end $$;
       grant all on schema public to ${this.#planter}`,
    );
  }

  /** Creates objects in `public`, as the other role, under each name that this package uses. Gives their number. */
  async plant(): Promise<number> {
    const { rows: functions } = await this.admin.query<FunctionRow>(functionsText, [
      usedWords("\\s*\\("),
      "pg_catalog",
    ]);
    const { rows: tables } = await this.admin.query<{ name: string }>(tablesText, [usedWords("")]);
    return this.#create([
      ...functions.flatMap((row) => functionPlants("public", row)),
      ...operatorPlants("public"),
      ...tables.flatMap(({ name }) => tablePlants("public", name, name)),
      ...ownTables.flatMap((name) => tablePlants("public", name, "pg_class")),
      // Last, since the statements above need the real ones.
      ...typePlants("public"),
    ]);
  }

  /**
   * Creates objects in a schema that holds our tables: types, and functions that differ from existing ones in their
   * parameters alone.
   */
  async plantBeside(schema: string): Promise<void> {
    const name = escapeIdentifier(schema);
    await this.admin.query(`grant usage, create on schema ${name} to ${this.#planter}`);
    const { rows: functions } = await this.admin.query<FunctionRow>(functionsText, [usedWords(""), schema]);
    await this.#create([...functions.flatMap((row) => functionPlants(name, row)), ...typePlants(name)]);
  }

  /** The objects that were used, and the roles that used them. */
  async ran(): Promise<{ what: string; ran_as: string }[]> {
    const { rows } = await this.admin.query<{ what: string; ran_as: string }>("table public.planted_runs");
    return [...new Map(rows.map((row) => [JSON.stringify(row), row])).values()];
  }

  async reset(): Promise<void> {
    await this.admin.query("truncate public.planted_runs");
  }

  /** The address of a role, with an optional search path. */
  as(role: string, searchPath?: string): string {
    const url = new URL(this.url);
    [url.username, url.password] = [role, "x"];
    if (searchPath !== undefined)
      url.searchParams.set("options", `-c search_path=${searchPath.replaceAll(" ", "\\ ")}`);
    return url.href;
  }

  /**
   * A pool, ended with the database. With `temporary`, each of its sessions has temporary types and tables with the
   * same names.
   */
  pool(config: PoolConfig, temporary = false): Pool {
    // Awaited by the pool, although its types do not say so.
    const onConnect = (client: ClientBase): void => client.query(temporaryPlants()) as unknown as undefined;
    const pool = new Pool(temporary ? { ...config, onConnect } : config);
    pool.on("error", () => undefined);
    this.#pools.push(pool);
    return pool;
  }

  async drop(roles: readonly string[]): Promise<void> {
    for (const pool of this.#pools) await pool.end();
    await this.#onServer([
      `drop database if exists ${this.#name} with (force)`,
      ...[this.#planter, ...roles].map((role) => `drop role if exists ${role}`),
    ]);
  }

  async #onServer(statements: readonly string[]): Promise<void> {
    const client = new Client({ connectionString: withParameter(this.#server, "application_name", "spec admin") });
    await client.connect();
    try {
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  }

  async #create(statements: readonly string[]): Promise<number> {
    const client = new Client({ connectionString: this.as(this.#planter) });
    await client.connect();
    try {
      const text = "select public.planted_create($1::pg_catalog.text[]) as created";
      const { rows } = await client.query<{ created: number }>(text, [statements]);
      return rows[0]?.created ?? 0;
    } finally {
      await client.end();
    }
  }
}

const ownTables = [
  "kojin_results",
  "kojin_groups",
  "kojin_group_state",
  "kojin_streams",
  "kojin_chunks",
  "kojin_migrations",
];

const tablePlants = (schema: string, name: string, of: string): string[] => [
  `create view ${schema}.${name} as select * from pg_catalog.${of} where public.planted_note('table ${name}')`,
  `grant all on ${schema}.${name} to public`,
];

const domainTypes: readonly (readonly [string, string])[] = [
  ...[
    "text",
    "jsonb",
    "json",
    "timestamptz",
    "uuid",
    "float8",
    "int4",
    "int8",
    "bool",
    "regclass",
    "name",
    "oid",
    "numeric",
    "xid8",
  ].map((name) => [name, name] as const),
  ["void", "text"],
  ["trigger", "text"],
];

const typePlants = (schema: string): string[] =>
  domainTypes.map(
    ([name, base]) =>
      `create domain ${schema}.${name} as pg_catalog.${base} check (public.planted_note('type ${name}'))`,
  );

/** In each session's temporary schema, which comes first for types and tables, whatever the search path. */
function temporaryPlants(): string {
  const tables = ownTables.map(
    (name) =>
      `create temp view ${name} as select * from pg_catalog.pg_class where public.planted_note('temporary table ${name}')`,
  );
  return [...tables, ...typePlants("pg_temp")].join(";\n");
}

interface FunctionRow {
  readonly name: string;
  readonly parameters: string[];
  readonly returns: string;
  readonly is_variadic: boolean;
}

// $1 names, $2 schema.
const functionsText = `
  select procedure.proname::text as name,
    array(select pg_catalog.format_type(type, null) from pg_catalog.unnest(procedure.proargtypes) with ordinality as arg (type, place) order by place) as parameters,
    pg_catalog.format_type(procedure.prorettype, null) as returns,
    procedure.provariadic operator(pg_catalog.<>) 0 as is_variadic
  from pg_catalog.pg_proc as procedure
  where procedure.proname operator(pg_catalog.=) any ($1::pg_catalog.text[]) and procedure.pronargs operator(pg_catalog.<=) 7
    and procedure.pronamespace operator(pg_catalog.=) pg_catalog.quote_ident($2::pg_catalog.text)::pg_catalog.regnamespace
    and procedure.prorettype operator(pg_catalog.<>) 'pg_catalog.trigger'::pg_catalog.regtype
    and procedure.proowner operator(pg_catalog.<>) all (
      array(select oid from pg_catalog.pg_roles where pg_catalog.starts_with(rolname::pg_catalog.text, 'planter_'))
    )`;

const tablesText = `
  select relname::pg_catalog.text as name from pg_catalog.pg_class
  where relnamespace operator(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace and relname operator(pg_catalog.=) any ($1::pg_catalog.text[])
    and (relkind operator(pg_catalog.=) 'r' or relkind operator(pg_catalog.=) 'v')`;

const polymorphic = /^any|^internal$|^cstring$/;

function functionPlants(schema: string, { name, parameters, returns, is_variadic: isVariadic }: FunctionRow): string[] {
  const result = polymorphic.test(returns) || returns === "record" ? "text" : returns;
  const base = parameters.map((type) => (polymorphic.test(type) ? "text" : type));
  const signatures = new Set([base.join(", ")]);
  base.forEach((_type, place) => {
    for (const type of allTypes) signatures.add(base.map((each, index) => (index === place ? type : each)).join(", "));
  });
  signatures.add(base.map(() => "text").join(", "));
  if (isVariadic) {
    for (let count = 1; count <= 4; count += 1) signatures.add(Array.from({ length: count }, () => "text").join(", "));
    signatures.add([...base.slice(0, -1), "variadic text[]"].join(", "));
  }
  return [...signatures].map((signature) =>
    trap(`${schema}.${escapeIdentifier(name)}`, signature, result, `function ${name}(${signature})`),
  );
}

function operatorPlants(schema: string): string[] {
  const pairs = types.concat("jsonb", "uuid", "text[]", "oid", "name", '"char"', "regclass");
  return operatorNames.flatMap((operator) =>
    pairs.flatMap((left) =>
      pairs.flatMap((right) => {
        const name = `${schema}.${escapeIdentifier(`${operator} ${left} ${right}`)}`;
        const result = /^[=<>~]/.test(operator) ? "boolean" : left;
        return [
          trap(name, `${left}, ${right}`, result, `operator ${left} ${operator} ${right}`),
          `create operator ${schema}.${operator} (function = ${name}, leftarg = ${left}, rightarg = ${right})`,
        ];
      }),
    ),
  );
}

const trap = (name: string, parameters: string, returns: string, what: string): string =>
  `create function ${name}(${parameters}) returns ${returns} language plpgsql as $trap$
   begin perform public.planted_note(${escapeLiteral(what)}); return ${returns === "void" ? "" : "null"}; end $trap$`;

/** Words in the SQL of this package that may be names, before the given pattern. */
function usedWords(follow: string): string[] {
  const root = join(__dirname, "..", "..", "..");
  const files = readdirSync(join(root, "lib"), { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  const texts = [
    ...files.flatMap((file) =>
      sqlLiterals(file, readFileSync(join(root, "lib", file), "utf8")).map(({ text }) => text),
    ),
    ...migrations.map(({ sql }) => sql),
    readFileSync(join(root, "sql", "roles.sql"), "utf8"),
  ];
  return [
    ...new Set(
      texts.flatMap((text) =>
        [...text.matchAll(new RegExp(`\\b([a-z_0-9]+)${follow}`, "g"))].map((match) => match[1] ?? ""),
      ),
    ),
  ];
}
