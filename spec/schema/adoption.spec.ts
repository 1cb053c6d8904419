import { escapeIdentifier } from "pg";
import { lastValueFrom, toArray } from "rxjs";
import { specDatabase } from "../support/spec-database";

describe("tables that are like those of the Rust crate, and are adopted", () => {
  const database = specDatabase("adoption", { migrated: false });
  const name = escapeIdentifier(database.schema);

  beforeEach(async () => {
    await database.sql(`drop schema if exists ${name} cascade`);
    await database.sql(`create schema ${name}`);
  });

  it("may have ids of type varchar, columns of the application, and no index", async () => {
    await database.sql(
      `create table ${name}.kojin_results (tenant int not null default 7, task_id varchar(600) primary key, result jsonb not null,
         created_at timestamptz default now(), expires_at timestamptz, note text)`,
    );
    await database.sql(
      `create table ${name}.kojin_groups (id bigserial, expired boolean, group_ids text, group_id varchar(600) not null, task_id varchar(600) not null, result jsonb, completed boolean default false,
         owner text default 'nobody', primary key (group_id, task_id))`,
    );
    await database.sql(`insert into ${name}.kojin_results (task_id, result, created_at) values ('old', '1', null)`);
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values
         ('rust', 'rust:placeholder:0', null, false), ('rust', 'rust:placeholder:1', null, null), ('rust', 'a', '1', true)`,
    );
    const backend = await database.open({ inlineResultBytes: 1_000 });
    await backend.migrate();
    await backend.ready();
    expect(await backend.get("old")).toBe(1);
    const wait = backend.wait("new", 20_000);
    await backend.store("new", 2);
    expect(await wait).toBe(2);
    await database.sql(
      `insert into ${name}.kojin_results (task_id, result) values ('new', '3') on conflict (task_id) do update set result = '3'`,
    );
    expect(await backend.get("new")).toBe(3);
    expect(await backend.getGroup("rust")).toMatchObject({ total: 2, completed: 1, done: false });
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('rust', 'b', '2', true)
       on conflict (group_id, task_id) do update set result = excluded.result, completed = true`,
    );
    expect(await backend.waitGroup("rust", 20_000)).toEqual([1, 2]);
    await backend.initGroup("declared", ["x", "y"]);
    expect(await backend.completeGroupMember("declared", "x", 1)).toBe(1);
    expect(await backend.failGroupMember("declared", "y", new Error("no"))).toBe(1);
    expect(await lastValueFrom(backend.groupMembers$("declared").pipe(toArray()))).toHaveLength(2);
    expect(await backend.claimGroup("rust")).toBeDefined();
    await backend.store("short", 1, { ttlMs: 1 });
    expect((await backend.prune({ olderThanMs: 0 })).groups).toBe(0);
    expect(await backend.delete("new")).toBe(true);
    expect((await backend.migrate({ recount: true })).applied).toEqual([]);
    expect(await backend.getGroup("rust")).toMatchObject({ completed: 2, done: true });
    expect((await backend.health()).problems).toEqual([]);
  }, 60_000);

  it("get their columns without being rewritten, and members from before count as older than any call", async () => {
    await database.sql(
      `create table ${name}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
    );
    await database.sql(
      `create table ${name}.kojin_groups (group_id text, task_id text, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
    );
    await database.sql(`insert into ${name}.kojin_results (task_id, result) values ('old', '1')`);
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('rust', 'a', '1', true)`,
    );
    const files = async (): Promise<unknown> =>
      database.sql(
        `select pg_relation_filenode('${name}.kojin_results') as results, pg_relation_filenode('${name}.kojin_groups') as groups`,
      );
    const before = await files();
    const backend = await database.open();
    await backend.migrate();
    expect(await files()).toEqual(before);
    const stamps = async (): Promise<unknown> =>
      database.sql(
        `select task_id, stored_at > now() - interval '1 hour' as is_new from ${name}.kojin_groups order by task_id`,
      );
    await backend.completeGroupMember("rust", "ours", 2);
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed) values ('rust', 'crate', '3', true), ('rust', 'open', null, false)`,
    );
    expect(await stamps()).toEqual([
      { task_id: "a", is_new: null },
      { task_id: "crate", is_new: true },
      { task_id: "open", is_new: null },
      { task_id: "ours", is_new: true },
    ]);
    await database.sql(`update ${name}.kojin_groups set result = '4' where task_id in ('a', 'crate')`);
    await database.sql(`update ${name}.kojin_groups set completed = false where task_id = 'ours'`);
    expect(await stamps()).toEqual([
      { task_id: "a", is_new: true },
      { task_id: "crate", is_new: true },
      { task_id: "open", is_new: null },
      { task_id: "ours", is_new: null },
    ]);
  });

  it("may be the results alone, or the groups alone", async () => {
    await database.sql(
      `create table ${name}.kojin_groups (group_id text, task_id text, result jsonb, completed boolean, primary key (group_id, task_id))`,
    );
    await database.sql(
      `insert into ${name}.kojin_groups values ('g', 'g:placeholder:0', null, false), ('g', 'a', '1', true)`,
    );
    const backend = await database.open();
    await backend.migrate();
    expect(await backend.waitGroup("g", 20_000)).toEqual([1]);
    await backend.store("t", 1);
    expect(await backend.get("t")).toBe(1);
  });
});
