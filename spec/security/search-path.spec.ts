import { type Client, escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { channelOf } from "../../lib/notifications/payload";
import { withParameter, specDatabase } from "../support/spec-database";
import { calls, prepare } from "./support/calls";
import { EvilSchema } from "./support/evil-schema";
import { Logins } from "./support/logins";

describe("what triggers run with the rights of the owner", () => {
  const database = specDatabase("search path");
  const logins = new Logins(database);
  const schema = escapeIdentifier(database.schema);
  const evil = new EvilSchema(database, `evil ${process.pid}`);
  const writer = logins.name("writer");
  let writerUrl: string;
  let attacker: Client;
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    writerUrl = await logins.create("writer");
    await database.sql(`grant usage on schema ${schema} to ${writer}`);
    // The rights of a worker of the Rust crate.
    await database.sql(`grant select, insert, update on ${schema}.kojin_groups, ${schema}.kojin_results to ${writer}`);
    await evil.create(writer);
    await evil.plantExact();
  });
  beforeEach(async () => {
    backend = await database.open();
    await backend.ready();
    attacker = await logins.connect(writerUrl);
    for (const table of ["new_rows", "old_rows", "kojin_groups", "kojin_group_state", "kojin_results"]) {
      await attacker.query(
        `create temp table ${table} (group_id text, task_id text, result jsonb, error jsonb, completed boolean, position int, finished_seq bigint, total int, failed int, expires_at timestamptz)`,
      );
      await attacker.query(
        `insert into ${table} (group_id, task_id, result, completed) values ('g', 'fake', '0', true)`,
      );
    }
    await attacker.query(`set search_path = pg_temp, ${evil.name}, pg_catalog`);
    await evil.reset();
  });
  afterEach(async () => attacker.end());

  it("would be run by a statement with unqualified names", async () => {
    await attacker.query("select pg_notify('a', 'b'), 'a' || 'b'");
    expect(await evil.sprung()).toEqual(
      expect.arrayContaining([
        { trap: "pg_notify(text, text)", ran_as: writer },
        { trap: "||(text, text)", ran_as: writer },
      ]),
    );
  });

  it("is theirs when a group is initialised and completed, and the counts are right", async () => {
    const done = backend.waitGroup("g", 60_000);
    const placeholder = `insert into ${schema}.kojin_groups (group_id, task_id, completed) values ($1, $2, false) on conflict (group_id, task_id) do nothing`;
    for (let index = 0; index < 2; index += 1) await attacker.query(placeholder, ["g", `g:placeholder:${index}`]);
    const complete = `insert into ${schema}.kojin_groups (group_id, task_id, result, completed) values ($1, $2, $3, true) on conflict (group_id, task_id) do update set result = $3, completed = true`;
    await attacker.query(complete, ["g", "a", "1"]);
    await attacker.query(complete, ["g", "a", "1"]);
    expect(await backend.getGroup("g")).toEqual({ groupId: "g", total: 2, completed: 1, failed: 0, done: false });
    await attacker.query(complete, ["g", "b", "2"]);
    expect(await done).toEqual([1, 2]);
    expect(await backend.getGroup("g")).toEqual({ groupId: "g", total: 2, completed: 2, failed: 0, done: true });
    expect(backend.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0, deadline: 0 });
    expect(await evil.sprung()).toEqual([]);
  });

  it("is theirs when members are failed and taken back by UPDATE", async () => {
    await backend.initGroup("updated", 2);
    await backend.completeGroupMember("updated", "a", 1);
    const members = `update ${schema}.kojin_groups set error = $2, completed = $3 where group_id operator(pg_catalog.=) $1`;
    await attacker.query(members, ["updated", "{}", false]);
    expect(await backend.getGroup("updated")).toMatchObject({ completed: 0, failed: 1 });
    await attacker.query(members, ["updated", null, true]);
    expect(await backend.getGroup("updated")).toMatchObject({ completed: 1, failed: 0 });
    expect(await evil.sprung()).toEqual([]);
  });

  it("is theirs when results are stored, with and without inline results, and the waits are woken", async () => {
    const store = `insert into ${schema}.kojin_results (task_id, result) values ($1, $2) on conflict (task_id) do update set result = $2`;
    for (const inlineBytes of ["0", "1000"]) {
      await attacker.query(`set kojin.inline_bytes = ${inlineBytes}`);
      const result = backend.wait(`r ${inlineBytes}`, 60_000);
      await attacker.query(store, [`r ${inlineBytes}`, '"real"']);
      expect(await result).toBe("real");
      await backend.fail(`r ${inlineBytes}`, new Error("no"));
      await attacker.query(store, [`r ${inlineBytes}`, '"again"']);
      expect(await backend.get(`r ${inlineBytes}`)).toBe("again");
    }
    expect(backend.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    expect(await evil.sprung()).toEqual([]);
  });

  it.each([false, true])(
    "is theirs when rows are stored apart from one that fails (one by one: %s)",
    async (oneByOne) => {
      const ids = [`good ${oneByOne}`, `taken ${oneByOne}`, `unfit ${oneByOne}`];
      await backend.store(ids[1] ?? "", "before");
      const waits = backend.wait(ids[0] ?? "", 60_000);
      const later = Date.now() / 1_000 + 600;
      const { rows } = await attacker.query<{ place: number; state: string | null }>(
        `select place, state from ${schema}.kojin_store_each(
         $1, array['"real"', '"real"', '{'], array[null, null, null], array[null, null, null]::double precision[], array[null, null, null],
         array[false, false, false], array[$2, $2, $2]::double precision[], array[$2, $2, $2]::double precision[], $2, $3, 1000, 1000, 1000, true
       )`,
        [ids, later, oneByOne],
      );
      expect(rows).toEqual([
        { place: 3, state: "22P02" },
        { place: 1, state: null },
        { place: 2, state: null },
      ]);
      expect(await waits).toBe("real");
      expect(await backend.get(ids[1] ?? "")).toBe("real");
      expect(await evil.sprung()).toEqual([]);
    },
  );

  it("is theirs when functions for other languages store", async () => {
    await attacker.query(`select ${schema}.kojin_store('sql', '1'), ${schema}.kojin_fail('no', 'no', details => '{}')`);
    await expect(attacker.query(`select ${schema}.kojin_store('', '1')`)).rejects.toMatchObject({ code: "22023" });
    expect(await backend.get("sql")).toBe(1);
    expect(await evil.sprung()).toEqual([]);
  });

  it("is named in full: every function has a search_path of its own, but for those that write results for a session", async () => {
    const functions = await database.sql<{ name: string; prosecdef: boolean }>(
      `select proname as name, prosecdef from pg_proc
       where pronamespace = $1::regnamespace and 'search_path=pg_catalog, pg_temp' <> all (coalesce(proconfig, array[]::text[]))
       order by proname`,
      [schema],
    );
    // The application's triggers run below them, see the next spec.
    expect(functions).toEqual([
      { name: "kojin_fail", prosecdef: false },
      { name: "kojin_store", prosecdef: false },
      { name: "kojin_store_each", prosecdef: false },
      { name: "kojin_store_outcome", prosecdef: false },
      { name: "kojin_store_row", prosecdef: false },
    ]);
  });

  it("leaves triggers of the application's the search_path of the session, whether rows are stored together or apart", async () => {
    await database.sql(`create table ${evil.name}.audit (task_id text)`);
    await database.sql(
      `create function ${evil.name}.audit() returns trigger language plpgsql as $$
       begin
         if new.task_id = 'refused' then raise exception using errcode = '23514'; end if;
         insert into audit values (new.task_id);
         return new;
       end $$`,
    );
    const table = `${schema}.kojin_results`;
    await database.sql(
      `create trigger audit before insert on ${table} for each row execute function ${evil.name}.audit()`,
    );
    try {
      // A path that names no trap but the table.
      const path = `-c search_path=pg_catalog,${evil.name.replaceAll(" ", "\\ ")}`;
      const storing = await database.open({}, withParameter(database.url, "options", path));
      await storing.store("alone", 1);
      const apart = await Promise.allSettled(["good", "refused"].map(async (id) => storing.store(id, 1)));
      expect(apart).toMatchObject([{ status: "fulfilled" }, { status: "rejected", reason: { sqlState: "23514" } }]);
      expect(await database.sql(`select task_id from ${evil.name}.audit order by 1`)).toEqual([
        { task_id: "alone" },
        { task_id: "good" },
      ]);
    } finally {
      await database.sql(`drop trigger audit on ${table}`);
    }
  });
});

describe("functions that every role may execute", () => {
  const database = specDatabase("strangers");
  const logins = new Logins(database);
  const schema = escapeIdentifier(database.schema);
  let stranger: Client;

  beforeAll(async () => {
    const url = await logins.create("stranger");
    // The rights that every role has on the schema public.
    await database.sql(`grant usage on schema ${schema} to ${logins.name("stranger")}`);
    stranger = await logins.connect(url);
  });
  afterAll(async () => stranger.end());

  it("are none of those that run as the owner", async () => {
    const functions = await database.sql<{ name: string }>(
      `select proname as name from pg_proc
       where pronamespace = $1::regnamespace and prosecdef and has_function_privilege($2, oid, 'execute')`,
      [schema, logins.name("stranger")],
    );
    expect(functions).toEqual([]);
  });

  it.each([
    "kojin_groups_count_delete",
    "kojin_groups_count_insert",
    "kojin_groups_count_truncate",
    "kojin_groups_count_states",
    "kojin_groups_count_update",
    "kojin_groups_foreign_write",
  ])("do not include %s, which would count what is in a table of one's own", async (name) => {
    const backend = await database.open();
    await backend.initGroup("mine", 1);
    await stranger.query("drop table if exists bait");
    await stranger.query(
      "create temp table bait (group_id text, task_id text, result jsonb, completed boolean, error jsonb, position int, finished_seq bigint)",
    );
    const kinds: Record<string, string> = {
      kojin_groups_count_delete: "after delete on bait referencing old table as old_rows for each statement",
      kojin_groups_count_truncate: "after truncate on bait for each statement",
      kojin_groups_count_states: "after delete on bait referencing old table as old_rows for each statement",
      kojin_groups_count_insert: "after insert on bait referencing new table as new_rows for each statement",
      kojin_groups_count_update:
        "after update on bait referencing old table as old_rows new table as new_rows for each statement",
      kojin_groups_foreign_write: "before insert on bait for each row",
    };
    const trigger = `create trigger bait ${kinds[name] ?? ""} execute function ${schema}.${name}()`;
    await expect(stranger.query(trigger)).rejects.toMatchObject({ code: "42501" });
    await stranger.query("insert into bait values ('mine', 't', null, false)");
    await stranger.query("update bait set result = '1', completed = true");
    expect(await backend.getGroup("mine")).toMatchObject({ completed: 0, done: false });
  });

  it.each([
    "kojin_groups_hold('{g}', true)",
    "kojin_groups_lock('{g}')",
    "kojin_groups_settle('{g}', 'c')",
    "kojin_groups_recount('{g}', '{}', 'c')",
    "kojin_groups_add('{g}', '{1}', '{0}', '{0}', '{0}', '{0}', false, 'c')",
    "kojin_groups_change('{g}', '{1}', '{0}', '{0}', '{0}', '{0}', 'c')",
    "kojin_groups_count('{g}')",
    "kojin_groups_forget('{g}')",
    "kojin_groups_prune(1, 0)",
    "kojin_delete_group('g')",
    "kojin_groups_number_page(null, 1)",
    "kojin_groups_count_page(null, 1)",
    "kojin_init_group('g', 1, null, null, null, 'c')",
    "kojin_finish_members('{g}', '{t}', '{1}', '{null}')",
  ])("do not include %s", async (call) => {
    await expect(stranger.query(`select ${schema}.${call}`)).rejects.toMatchObject({ code: "42501" });
    expect(await database.sql(`select from ${schema}.kojin_group_state where group_id = 'g'`)).toEqual([]);
  });

  it("announce, as NOTIFY does, and nothing else", async () => {
    const heard: (string | undefined)[] = [];
    stranger.on("notification", ({ payload }) => heard.push(payload));
    await stranger.query(`listen ${channelOf(database.schema)}`);
    await stranger.query(`select ${schema}.kojin_announce($1, 'ids', '{"\\"t\\""}')`, [channelOf(database.schema)]);
    await stranger.query("select 1");
    expect(heard).toEqual(['{"v":1,"ids":["t"]}']);
  });
});

// Before PostgreSQL 15, and after an upgrade from there, every role may create objects in the schema public, which is
// in every role's search_path.
describe("operators that a stranger has put into a schema of the search_path", () => {
  const database = specDatabase("overloads", { migrated: false });
  const logins = new Logins(database);
  const evil = new EvilSchema(database, database.schema);
  let url: string;

  beforeAll(async () => {
    await logins.create("planter");
    // In the schema that is migrated, with a group that the Rust crate has completed, so that there is something to
    // adopt.
    await evil.create(logins.name("planter"));
    await evil.plantCloser();
    await database.sql(
      `create table ${evil.name}.kojin_groups (group_id text not null, task_id text not null, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
    );
    await database.sql(
      `insert into ${evil.name}.kojin_groups values ('old', 'old:placeholder:0', null, false), ('old', 't', '1', true)`,
    );
    const options = `-c search_path=${evil.name.replaceAll(" ", "\\ ")}`;
    url = withParameter(database.url, "options", options);
  });

  it("would be run by a statement that leaves a conversion to Postgres", async () => {
    const client = await logins.connect(url);
    await client.query("select 1.5::numeric * 2");
    await client.end();
    expect(await evil.sprung()).toMatchObject([{ trap: "*(numeric, integer)" }]);
    await evil.reset();
  });

  it("are not run by migrate, nor by any call", async () => {
    const [owner, backend] = [await database.open({}, url), await database.open({ notify: "deferred" }, url)];
    await owner.migrate();
    expect(await owner.waitGroup("old", 0)).toEqual([1]);
    await backend.ready();
    for (const [index, [name, call]] of Object.entries(calls).entries()) {
      await prepare(owner, `task ${index}`);
      await call({ backend, owner, id: `task ${index}` }).catch((cause: unknown) => {
        throw new Error(`${name} failed`, { cause });
      });
    }
    await backend.health();
    expect(await evil.sprung()).toEqual([]);
  });
});
