import { readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import { DatabaseError, type PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { startDashboard } from "../../lib/dashboard/dashboard";
import type { DashboardState } from "../../lib/dashboard/monitor";
import { migrations } from "../../lib/schema/migration-files";
import { ask, eventsOf } from "../dashboard/support/requests";
import { specDatabase } from "../support/spec-database";
import { allowed, besides, calls, prepare, type RoleName } from "./support/calls";
import { Logins } from "./support/logins";

/** The file itself, with the spec's names for those it says to replace. */
function rolesFile(schema: string, names: Readonly<Record<"storer" | "waiter" | "janitor", string>>): string {
  const text = readFileSync(join(__dirname, "..", "..", "sql", "roles.sql"), "utf8").replaceAll("public", schema);
  return Object.entries(names).reduce((replaced, [what, name]) => replaced.replaceAll(`kojin_${what}`, name), text);
}

describe("sql/roles.sql", () => {
  const database = specDatabase("roles", { migrated: false });
  const logins = new Logins(database);
  const schema = escapeIdentifier(database.schema);
  const groupRoles = { storer: logins.name("storer"), waiter: logins.name("waiter"), janitor: logins.name("janitor") };
  const roleNames = Object.keys(allowed) as RoleName[];
  const urls = new Map<RoleName, string>();
  const roles = [...Object.values(groupRoles)];
  let owner: PostgresResultBackend;
  let ids = 0;

  beforeAll(async () => {
    // As the Rust crate creates them: the tables are adopted, and later objects have rights of their own.
    await database.sql(`create schema ${schema}`);
    await database.sql(
      `create table ${schema}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
    );
    await database.sql(
      `create table ${schema}.kojin_groups (group_id text not null, task_id text not null, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
    );
    const migrating = await database.open();
    await migrating.migrate();
    await database.pool.query(rolesFile(schema, groupRoles));
    await migrating.migrate();
    await database.pool.query(rolesFile(schema, groupRoles));
    await migrating.close();
    for (const role of roleNames)
      urls.set(role, await logins.create(`${role}_login`, role === "nobody" ? [] : [groupRoles[role]]));
  });
  beforeEach(async () => {
    owner = await database.open();
  });

  async function openAs(role: RoleName, options: PostgresResultBackendOptions = {}): Promise<PostgresResultBackend> {
    const backend = await database.open({ retryTimeoutMs: 120_000, ...options }, urls.get(role));
    await backend.ready();
    return backend;
  }

  const permitted = (role: RoleName): readonly string[] =>
    role === "storer" ? [...allowed.storer, ...besides] : allowed[role];

  /** The error that refused a call; undefined if it succeeded. */
  async function refusal(backend: PostgresResultBackend, name: string): Promise<unknown> {
    const id = `task ${(ids += 1)}`;
    await prepare(owner, id);
    return calls[name]?.({ backend, owner, id }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
  }

  it("is no migration", () => {
    expect(migrations.map(({ name }) => name)).not.toContain("roles");
  });

  describe.each<[string, PostgresResultBackendOptions]>([
    ["with notify 'trigger'", { notify: "trigger" }],
    ["with notify 'deferred'", { notify: "deferred" }],
    ["with inline results", { inlineResultBytes: 1_000 }],
    ["with telemetry", { telemetry: true }],
  ])("%s", (_title, options) => {
    it.each(roleNames)("lets the %s do what it is for", async (role) => {
      const backend = await openAs(role, options);
      for (const name of permitted(role)) expect([name, await refusal(backend, name)]).toEqual([name, undefined]);
      expect(backend.stats()).toMatchObject({ status: "listening", announcementsFailed: 0 });
    });

    it.each(roleNames)("has everything else refused to the %s, at once", async (role) => {
      const backend = await openAs(role, options);
      for (const name of Object.keys(calls).filter((each) => !permitted(role).includes(each))) {
        const reason = await refusal(backend, name);
        expect([name, reason]).toEqual([name, expect.any(DatabaseError)]);
        expect(reason).toMatchObject({ sqlState: "42501", transient: false });
      }
      expect(backend.stats().reads.retries + backend.stats().stores.retries + backend.stats().groupWrites.retries).toBe(
        0,
      );
    });

    it.each(roleNames)("leaves health and stats to the %s", async (role) => {
      const backend = await openAs(role, options);
      const version = role === "nobody" ? undefined : migrations.at(-1)?.version;
      expect(await backend.health()).toMatchObject({ status: "listening", problems: [], schemaVersion: version });
      expect(backend.stats()).toMatchObject({ status: "listening", waiting: 0 });
    });
  });

  it("lets a waiter serve the dashboard", async () => {
    await prepare(owner, "shown");
    await using dashboard = await startDashboard(await openAs("waiter"), { port: 0, showResults: true });
    for await (const { type, data } of eventsOf(`${dashboard.url}events`)) {
      const { phase, problems, facts } = JSON.parse(type === "state" ? data : "{}") as Partial<DashboardState>;
      if (phase !== "ready" || facts?.expired === undefined) continue;
      expect(problems).toEqual([]);
      break;
    }
    for (const read of ["task", "group", "search"])
      expect([read, (await ask(`${dashboard.url}data/${read}?id=shown`)).status]).toEqual([read, 200]);
  });

  it("lets a storer write within a transaction of its own", async () => {
    const client = await logins.connect(urls.get("storer") ?? "");
    const backend = await openAs("storer");
    await client.query("begin");
    await backend.store("in transaction", 1, { client });
    await backend.initGroup("in transaction", 1, { client });
    await backend.completeGroupMember("in transaction", "a", 1, { client });
    expect(await backend.claimGroup("in transaction", { client })).toBeDefined();
    await client.query("commit");
    await client.end();
    expect(await owner.waitGroup("in transaction", 20_000)).toEqual([1]);
  });

  it.each([
    "kojin_store('in SQL', '1')",
    "kojin_fail('in SQL', 'no')",
    "kojin_complete_member('in SQL', 'a', '1')",
    "kojin_fail_member('in SQL', 'b', 'no')",
    "kojin_expect('in SQL')",
  ])("lets a storer alone call %s", async (call) => {
    for (const role of roleNames) {
      const client = await logins.connect(urls.get(role) ?? "");
      const called = client.query(`select ${schema}.${call}`);
      if (role === "storer") await called;
      else await expect(called).rejects.toMatchObject({ code: "42501" });
      await client.end();
    }
  });

  it("lets a role with all three do everything, and prune what has expired", async () => {
    const backend = await database.open({}, await logins.create("app", roles));
    for (const name of Object.keys(calls)) expect([name, await refusal(backend, name)]).toEqual([name, undefined]);
  });

  it.each<[Exclude<RoleName, "nobody">, string]>([
    ["storer", "select result from kojin_groups"],
    ["storer", "select error from kojin_groups"],
    ["storer", "update kojin_group_state set completed = 1"],
    ["storer", "update kojin_group_state set total = 1"],
    ["storer", "insert into kojin_groups (group_id, task_id) values ('g', 't')"],
    ["storer", "select kojin_groups_add('{g}', '{1}', '{0}', '{0}', '{0}', '{0}', false, 'c')"],
    ["storer", "select chunk from kojin_chunks"],
    ["storer", "insert into kojin_chunks (task_id, attempt, sequence, chunk) values ('t', 1, 1, '1')"],
    ["storer", "update kojin_streams set sequence = 1"],
    ["storer", "delete from kojin_results"],
    ["storer", "delete from kojin_groups"],
    ["storer", "delete from kojin_group_state"],
    ["waiter", "insert into kojin_results (task_id, result) values ('t', '1')"],
    ["waiter", "update kojin_results set result = '1'"],
    ["waiter", "update kojin_group_state set completed = 1"],
    ["waiter", "select claim_token from kojin_group_state"],
    ["waiter", "select kojin_init_group('g', 1, null, null, null, 'c')"],
    ["waiter", "select kojin_finish_members('{g}', '{t}', '{1}', '{null}')"],
    ["waiter", "select kojin_emit('t', '1')"],
    ["waiter", "select nextval('kojin_group_seq')"],
    ["janitor", "select result from kojin_results"],
    ["janitor", "select error from kojin_results"],
    ["janitor", "select result from kojin_groups"],
    ["janitor", "select chunk from kojin_chunks"],
    ["janitor", "update kojin_results set result = '1'"],
    ["janitor", "update kojin_results set expires_at = null"],
    ["janitor", "update kojin_groups set result = '1'"],
    ["janitor", "update kojin_group_state set completed = 1"],
    ["janitor", "truncate kojin_results"],
  ])("keeps the %s from: %s", async (role, text) => {
    const client = await logins.connect(urls.get(role) ?? "");
    try {
      await client.query("select set_config('search_path', $1, false)", [schema]);
      await expect(client.query(text)).rejects.toMatchObject({ code: "42501" });
    } finally {
      await client.end();
    }
  });

  it.each(["storer", "waiter", "janitor"] as const)("grants the %s nothing that it can do without", async (role) => {
    // With telemetry, which needs more rights.
    const backend = await openAs(role, { telemetry: true });
    const grants = await database.sql<{ privilege: string; column: string; table: string }>(
      `select privilege_type as privilege, table_name as table, '(' || quote_ident(column_name) || ')' as column
       from information_schema.column_privileges where table_schema = $1 and grantee = $2 and privilege_type <> 'REFERENCES'
       union all
       select privilege_type, table_name, '' from information_schema.role_table_grants where table_schema = $1 and grantee = $2`,
      [database.schema, groupRoles[role]],
    );
    expect(grants.length).toBeGreaterThan(5);
    const idle: string[] = [];
    for (const { privilege, column, table } of grants) {
      if (table === "kojin_migrations") continue; // Only `health` tells the version, see above.
      const right = `${privilege} ${column} on ${schema}.${table}`;
      await database.sql(`revoke ${right} from ${groupRoles[role]}`);
      const refusals = await Promise.all(permitted(role).map(async (name) => refusal(backend, name)));
      if (refusals.every((each) => each === undefined)) idle.push(right);
      await database.sql(`grant ${right} to ${groupRoles[role]}`);
    }
    expect(idle).toEqual([]);
  });
});

describe("an owner that is no superuser", () => {
  const database = specDatabase("plain owner", { migrated: false });
  const logins = new Logins(database);

  it("migrates, creates the roles, and has the functions that run with its rights work for them", async () => {
    const url = await logins.create("owner");
    const schema = escapeIdentifier(database.schema);
    await database.sql(`alter role ${logins.name("owner")} createrole`);
    await database.sql(`create schema ${schema} authorization ${logins.name("owner")}`);
    const names = {
      storer: logins.name("own_storer"),
      waiter: logins.name("own_waiter"),
      janitor: logins.name("own_janitor"),
    };
    const owner = await database.open({}, url);
    await owner.migrate();
    const client = await logins.connect(url);
    await client.query(rolesFile(schema, names));
    await client.query(rolesFile(schema, names));
    await client.end();
    const storing = await database.open({}, await logins.create("own_storer_login", [names.storer]));
    const waiting = await database.open({}, await logins.create("own_waiter_login", [names.waiter]));
    await storing.store("t", 1);
    await storing.initGroup("g", 1);
    await storing.completeGroupMember("g", "a", 2);
    expect(await waiting.wait("t", 60_000)).toBe(1);
    expect(await waiting.waitGroup("g", 60_000)).toEqual([2]);
  });
});

describe("a role with SELECT alone", () => {
  const database = specDatabase("select only");
  const logins = new Logins(database);

  it("can wait for results and groups, and is refused to store", async () => {
    const url = await logins.create("select_only");
    const schema = escapeIdentifier(database.schema);
    await database.sql(`grant usage on schema ${schema} to ${logins.name("select_only")}`);
    await database.sql(`grant select on all tables in schema ${schema} to ${logins.name("select_only")}`);
    const [owner, backend] = [await database.open(), await database.open({}, url)];
    const waits = Promise.all([backend.wait("t", 60_000), backend.waitGroup("g", 60_000)]);
    await backend.ready();
    await owner.store("t", 1);
    await owner.initGroup("g", 1);
    await owner.completeGroupMember("g", "a", 2);
    expect(await waits).toEqual([1, [2]]);
    await expect(backend.store("t", 2)).rejects.toMatchObject({ sqlState: "42501" });
    await expect(backend.completeGroupMember("g", "b", 2)).rejects.toMatchObject({ sqlState: "42501" });
  });
});
