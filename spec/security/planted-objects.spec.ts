import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Pool, Client, escapeIdentifier } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { allowed, calls, prepare } from "./support/calls";
import { PlantedDatabase } from "./support/planted-database";

const groupRoles = {
  storer: `planted_storer_${process.pid}`,
  waiter: `planted_waiter_${process.pid}`,
  janitor: `planted_janitor_${process.pid}`,
};
const owner = `planted_owner_${process.pid}`;
const roles = [owner, ...Object.values(groupRoles)];

/** The default, and one that prefers `public` to what Postgres has. */
const searchPaths = ['"$user", public', "public, pg_catalog"];

describe("what another role has created where names may be looked up", () => {
  const database = new PlantedDatabase("objects");
  const opened: PostgresResultBackend[] = [];

  beforeAll(async () => {
    await database.create(roles);
    await database.admin.query(`alter role ${owner} createrole; grant all on schema public to ${owner}`);
    await database.admin.query(
      `grant create on database ${escapeIdentifier(new URL(database.url).pathname.slice(1))} to ${owner}`,
    );
    for (const role of Object.values(groupRoles))
      await database.admin.query(`grant ${role} to ${owner} with admin option`);
    // More than a hundred functions and a thousand operators. Fewer would prove nothing.
    expect(await database.plant()).toBeGreaterThan(3_000);
  }, 120_000);
  beforeEach(async () => database.reset());
  afterEach(async () => {
    for (const backend of opened.splice(0)) await backend.close();
  });
  afterAll(async () => database.drop(roles));

  function poolOf(role: string | undefined, searchPath: string): Pool {
    const url = role === undefined ? superuserUrl(database, searchPath) : database.as(role, searchPath);
    return database.pool({ connectionString: url, max: 3 }, true);
  }

  function open(pool: Pool, schema: string, options: PostgresResultBackendOptions = {}): PostgresResultBackend {
    const backend = new PostgresResultBackend(pool, { schema, retryTimeoutMs: 20_000, ...options });
    opened.push(backend);
    return backend;
  }

  it("would be run by a statement that does not qualify its names", async () => {
    const client = new Client({ connectionString: superuserUrl(database, "public, pg_catalog") });
    await client.connect();
    await client.query("select now(), 'a' || 'b', 1::text from pg_class limit 1");
    await client.end();
    const whats = (await database.ran()).map(({ what }) => what);
    expect(whats).toEqual(
      expect.arrayContaining(["function now()", "type text", "table pg_class", "operator text || text"]),
    );
  });

  describe.each(searchPaths)("with a search_path of %s", (searchPath) => {
    const schema = `planted ${searchPaths.indexOf(searchPath)} "quoted"`;
    const superusers = `${schema} of a superuser`;

    it.each([
      ["the owner", owner, schema],
      ["a superuser", undefined, superusers],
    ])(
      "is not run when %s migrates tables of the Rust crate, and again, and looks at them",
      async (_who, role, name) => {
        const pool = poolOf(role, searchPath);
        await createCrateTables(pool, name);
        await database.plantBeside(name);
        const backend = open(pool, name);
        await backend.migrate();
        await database.plantBeside(name);
        await backend.migrate();
        await backend.planMigration();
        expect(await backend.waitGroup("old", 0)).toEqual([1]);
        expect(await backend.get("old")).toBe(1);
        await pool.query(rolesFile(name));
        await backend.ready();
        await backend.inspect();
        await backend.health();
        await backend.diagnose();
        await backend.prune();
        expect(await database.ran()).toEqual([]);
      },
    );

    const variants: [string, PostgresResultBackendOptions][] = [
      ["", {}],
      [", deferred", { notify: "deferred" }],
      [", inline", { inlineResultBytes: 1_000 }],
      [", traced", { telemetry: true }],
    ];
    it.each(searchPath === "public, pg_catalog" ? variants : variants.slice(0, 1))(
      "is not run by any call of a storer, a waiter, a janitor or the owner%s",
      async (_title, options) => {
        const owning = open(poolOf(owner, searchPath), schema, options);
        const others = (["storer", "waiter", "janitor"] as const).map((role) => ({
          role,
          backend: open(poolOf(groupRoles[role], searchPath), schema, options),
        }));
        for (const { role, backend } of [...others, { role: "owner", backend: owning } as const]) {
          await backend.ready();
          for (const name of role === "owner" ? Object.keys(calls) : allowed[role]) {
            const id = `${role} ${name} ${JSON.stringify(options)}`;
            await prepare(owning, id);
            await calls[name]?.({ backend, owner: owning, id }).catch((cause: unknown) => {
              throw new Error(`${role}: ${name} failed`, { cause });
            });
          }
          await backend.health();
        }
        expect(await database.ran()).toEqual([]);
      },
    );
  });
});

function superuserUrl(database: PlantedDatabase, searchPath: string): string {
  const url = new URL(database.url);
  url.searchParams.set("options", `-c search_path=${searchPath.replaceAll(" ", "\\ ")}`);
  return url.href;
}

async function createCrateTables(pool: Pool, schema: string): Promise<void> {
  const name = escapeIdentifier(schema);
  await pool.query(
    `create schema ${name};
     create table ${name}.kojin_results (task_id pg_catalog.text primary key, result pg_catalog.jsonb not null, created_at timestamp with time zone default pg_catalog.now(), expires_at timestamp with time zone);
     create table ${name}.kojin_groups (group_id pg_catalog.text not null, task_id pg_catalog.text not null, result pg_catalog.jsonb, completed boolean default false, primary key (group_id, task_id));
     insert into ${name}.kojin_results (task_id, result) values ('old', '1');
     insert into ${name}.kojin_groups values ('old', 'old:placeholder:0', null, false), ('old', 't', '1', true)`,
  );
}

function rolesFile(schema: string): string {
  const text = readFileSync(join(__dirname, "..", "..", "sql", "roles.sql"), "utf8");
  return Object.entries(groupRoles).reduce(
    (replaced, [what, name]) => replaced.replaceAll(`kojin_${what}`, name),
    text.replaceAll(/\bpublic\b/g, () => escapeIdentifier(schema)),
  );
}
