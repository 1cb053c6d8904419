import { sqlLiterals, unqualifiedWords } from "../../tools/sql/sql-literals";
import { loadParser, sqlNames } from "../../tools/sql/sql-names";

const inBody = (body: string): string =>
  `create function app.f() returns pg_catalog.int4 language plpgsql set search_path = pg_catalog, pg_temp as $$ ${body} $$`;

beforeAll(loadParser);

describe("the check of names in SQL", () => {
  const found = (text: string): string[] =>
    sqlNames(text, { schemas: ["app"], transitionTables: ["new_rows"] }).unqualified.map(({ what }) => what);

  it.each([
    ["select now()", "function now"],
    ["select a = b from app.t", "operator ="],
    ["select -a from app.t", "operator -"],
    ["select a::text from app.t", "type text"],
    ["select timestamptz 'epoch'", "type timestamptz"],
    ['select a collate "C" from app.t', "collation C"],
    ["select from t", "table t"],
    ["select from other.t", "table other.t of an unexpected schema"],
    ["select other.f()", "function other.f of an unexpected schema"],
    ["select a operator(other.=) b from app.t", "operator other.= of an unexpected schema"],
    ["select from app.t where a in (1, 2)", "IN"],
    ["select from app.t where a in (select 1)", "IN (select …)"],
    ["select from app.t where a = any(array[1])", "operator ="],
    ["select from app.t where a between 1 and 2", "BETWEEN"],
    ["select from app.t where a not like 'b%'", "LIKE"],
    ["select from app.t where a is distinct from b", "IS DISTINCT FROM"],
    ["select from app.t where (a, b) > (c, d)", "operator >"],
    ["select nullif(a, 0) from app.t", "NULLIF"],
    ["select case a when 1 then 2 end from app.t", "CASE with an operand"],
    ["select from app.t join app.u using (a)", "JOIN … USING"],
    ["select from app.t natural join app.u", "NATURAL JOIN"],
    ["select from app.t order by a using <", "operator <"],
    ["select pg_catalog.nextval('s')", "object 's'"],
    ["select 't'::pg_catalog.regclass", "object 't'"],
    ["create table t (a int)", "table t"],
    ["create table app.t (a text)", "type text"],
    ["create table app.t (a int default random())", "function random"],
    ["create index on app.t (a text_pattern_ops)", "operator class text_pattern_ops"],
    ["create trigger g after insert on app.t for each row execute function f()", "function f"],
    ["create trigger g after insert on app.t for each row when (new.a > 1) execute function app.f()", "operator >"],
    ["drop table t", "name t"],
    ["drop trigger g on t", "name t.g"],
    ["grant select on t to x", "table t"],
    ["revoke execute on function app.f(text) from public", "type text"],
    ["alter table app.t alter column a type text", "type text"],
    ["do $$ begin perform now(); end $$", "function now"],
    [inBody("begin return b + 1; end"), "operator +"],
    [inBody("declare a text; begin return 1; end"), "type text"],
    [inBody("declare a app.t%rowtype; b t%rowtype; begin return 1; end"), "type t"],
    [inBody("declare a int; begin a := now(); return a; end"), "function now"],
    [inBody("declare a int; begin case a when 1 then null; end case; end"), "IN"],
    [inBody("begin for i in 1..length('a') loop null; end loop; end"), "function length"],
    [inBody("begin execute format('drop table %I', 'a'); end"), "function format"],
    ["create function app.f() returns int language sql as 'select 1'", "a function without a search_path of its own"],
    ["create function app.f() returns int language sql set search_path = '' as 'select now()'", "function now"],
  ])("finds in %s: %s", (text, what) => expect(found(text)).toContain(what));

  it.each([
    "select pg_catalog.now(), a operator(pg_catalog.=) b, a::pg_catalog.text, -1, current_timestamp from app.t",
    "select coalesce(a, 1), greatest(a, b), case when a is null then 1 end, array[1], extract(epoch from a) from app.t",
    "select a::int, b::bigint, c::boolean, d::double precision, interval '1 second', e::timestamp with time zone from app.t",
    "with t as (select 1 as a) select a from t where a operator(pg_catalog.=) any($1::int[]) group by a order by a",
    "select from app.t where (a, b) operator(pg_catalog.>) (c, d)",
    "insert into app.t as t (a) values (1) on conflict (a) do update set a = excluded.a",
    'select a collate pg_catalog."C" from app.t',
    "select pg_catalog.nextval('app.s'), 'app.t'::pg_catalog.regclass",
    "begin; set local search_path = pg_catalog; listen c; notify c; commit",
    inBody(
      "declare a int := 1; begin perform from new_rows; if found then a := a operator(pg_catalog.+) 1; end if; return a; end",
    ),
  ])("finds nothing in %s", (text) => expect(found(text)).toEqual([]));
});

describe("the check of SQL in pieces", () => {
  const found = (piece: string): string[] => {
    const source = `const text = "select 1"; const piece = \`${piece}\`;`;
    return sqlLiterals("file.ts", source).flatMap((each) => unqualifiedWords(each).map(({ what }) => what));
  };

  it.each([
    ["select now()", "function now"],
    ["set_config('a', 'b', true)", "function set_config"],
    ["unnest(${a}) as t", "function unnest"],
    ["a = any($1) and b", "operator ="],
    ["where a > ${b}", "operator >"],
    ["where a - interval '1 s' is null", "operator -"],
    ["${a}::text", "type text"],
    ["timestamptz 'epoch' or", "type timestamptz"],
    ["where a in (1)", "IN"],
    ["where a like 'b'", "LIKE"],
  ])("finds in %s: %s", (piece, what) => expect(found(piece)).toContain(what));

  it.each([
    "select pg_catalog.now() from ${a} as t (b, c) where b operator(pg_catalog.=) ${c}::int",
    "insert into ${a} (b, c) values (1, -1::double precision)",
    "update ${a} set b = 1, c = excluded.c where b is null",
    "with t as (select 1) select * from t",
  ])("finds nothing in %s", (piece) => expect(found(piece)).toEqual([]));
});
