import { escapeIdentifier } from "pg";
import type { SpecDatabase } from "../../support/spec-database";

/**
 * A schema full of traps: functions and operators named like those of Postgres, which record the role that ran them.
 */
export class EvilSchema {
  /** Quoted. */
  readonly name: string;
  readonly #database: SpecDatabase;

  constructor(database: SpecDatabase, name: string) {
    this.name = escapeIdentifier(name);
    this.#database = database;
    database.createSchema(name);
  }

  async create(owner: string): Promise<void> {
    await this.#database.sql(`create schema ${this.name} authorization ${owner}`);
    await this.#database.sql(`create table ${this.name}.sprung (trap text, ran_as text)`);
    await this.#database.sql(`grant usage on schema ${this.name} to public`);
    await this.#database.sql(`grant select, insert on ${this.name}.sprung to public`);
  }

  /** The traps that were run, with the roles that ran them. */
  async sprung(): Promise<{ trap: string; ran_as: string }[]> {
    return this.#database.sql(`select distinct trap, ran_as from ${this.name}.sprung`);
  }

  async reset(): Promise<void> {
    await this.#database.sql(`truncate ${this.name}.sprung`);
  }

  /**
   * Plants functions and operators of exactly the types that ours use, for a search_path with this schema before
   * pg_catalog.
   */
  async plantExact(): Promise<void> {
    const types = ["text", "int", "bigint", "boolean", "timestamptz", "jsonb"];
    const comparisons = ["=", "<>", "<", "<=", ">", ">="];
    await this.#run([
      this.#function("pg_notify", "text, text", "void"),
      this.#function("nextval", "regclass", "bigint"),
      this.#function("nextval", "text", "bigint"),
      this.#function("encode", "bytea, text", "text"),
      this.#function("sha256", "bytea", "bytea"),
      this.#function("convert_to", "text, name", "bytea"),
      this.#function("left", "text, int", "text"),
      this.#function("starts_with", "text, text", "boolean"),
      this.#function("substring", "text, text", "text"),
      this.#function("octet_length", "text", "int"),
      this.#function("current_setting", "text, boolean", "text"),
      this.#function("cardinality", "anyarray", "int"),
      this.#function("to_json", "anyelement", "json"),
      this.#function("clock_timestamp", "", "timestamptz"),
      this.#function("now", "", "timestamptz"),
      this.#function("grow", "anyarray, anyelement", "anyarray"),
      `create aggregate ${this.name}.array_agg(anyelement) (sfunc = ${this.name}.grow, stype = anyarray)`,
      ...types.flatMap((type) => comparisons.map((operator) => this.#operator(operator, type, type, "boolean"))),
      this.#operator("+", "int", "int", "int"),
      this.#operator("-", "int", "int", "int"),
      this.#operator("||", "text", "text", "text"),
      this.#operator("||", "text", "anynonarray", "text"),
    ]);
  }

  /**
   * Plants operators on pairs of types for which Postgres has none and converts one side: with this schema anywhere in
   * search_path they fit better. Does the same with functions that take a literal as text where Postgres expects
   * another type.
   */
  async plantCloser(): Promise<void> {
    const pairs = await this.#database.sql<{ operator: string; left: string; right: string; returns: string }>(
      `with type as (
         select unnest(array['int', 'bigint', 'numeric', 'float8', 'text', 'name', 'timestamptz', 'interval', 'uuid', 'boolean']::regtype[]) as type
       ),
       operator (operator, returns) as (
         values ('=', 'boolean'), ('<>', 'boolean'), ('<', 'boolean'), ('<=', 'boolean'), ('>', 'boolean'), ('>=', 'boolean'),
           ('+', null), ('-', null), ('*', null), ('/', null), ('||', 'text'), ('~~', 'boolean')
       )
       select operator, l.type::text as left, r.type::text as right, coalesce(returns, l.type::text) as returns
       from operator, type as l, type as r
       where not exists (
         select from pg_operator
         where oprnamespace = 'pg_catalog'::regnamespace and oprname = operator and oprleft = l.type and oprright = r.type
       )`,
    );
    await this.#run([
      ...pairs.map(({ operator, left, right, returns }) => this.#operator(operator, left, right, returns)),
      this.#function("nextval", "text", "bigint"),
      this.#function("hashtextextended", "text, int", "bigint"),
      this.#function("left", "text, bigint", "text"),
      this.#function("convert_to", "text, text", "bytea"),
    ]);
  }

  async #run(statements: readonly string[]): Promise<void> {
    await this.#database.pool.query(statements.join(";\n"));
  }

  #function(name: string, types: string, returns: string): string {
    return this.#trap(escapeIdentifier(name), types, returns, `${name}(${types})`);
  }

  #operator(operator: string, left: string, right: string, returns: string): string {
    const name = `"${operator} ${left} ${right}"`;
    return `${this.#trap(name, `${left}, ${right}`, returns, `${operator}(${left}, ${right})`)};
      create operator ${this.name}.${operator} (function = ${this.name}.${name}, leftarg = ${left}, rightarg = ${right})`;
  }

  #trap(name: string, types: string, returns: string, what: string): string {
    return `create function ${this.name}.${name}(${types}) returns ${returns} language plpgsql as $$
      begin
        insert into ${this.name}.sprung values ('${what}', current_user);
        return ${returns === "void" ? "" : "null"};
      end $$`;
  }
}
