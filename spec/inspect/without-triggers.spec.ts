import { Client } from "pg";
import type { CheckName, Diagnosis } from "kojin-postgres";
import { type CliRun, startCli } from "../cli/support/run-cli";
import { specDatabase } from "../support/spec-database";

const findingOf = (found: readonly Diagnosis[], check: CheckName): Diagnosis | undefined =>
  found.find((each) => each.check === check);
const notWell = (found: readonly Diagnosis[]): Diagnosis[] => found.filter(({ verdict }) => verdict !== "ok");

describe("a schema without triggers", () => {
  const database = specDatabase("inspect without", { migrated: false });

  it("is told from one that lacks its triggers, by inspect(), health() and diagnose()", async () => {
    const backend = await database.open();
    await backend.migrate({ triggers: false });
    expect(await backend.inspect()).toMatchObject({ withoutTriggers: true, triggers: [], schemaVersion: 3 });
    expect(await backend.health()).toMatchObject({ ok: true, problems: [], schemaVersion: 3 });
    const found = await backend.diagnose();
    expect(notWell(found)).toEqual([]);
    expect(findingOf(found, "triggers")?.finding).toContain("was migrated without triggers");
    expect(findingOf(found, "trigger support")?.finding).toContain("migrate() adds them");
    await backend.migrate();
    expect(await backend.inspect()).toMatchObject({ withoutTriggers: false });
    expect((await backend.inspect()).triggers).toHaveLength(7);
    const after = await (await database.open()).diagnose();
    expect([notWell(after), findingOf(after, "triggers")?.finding]).toEqual([[], "All 7 triggers are enabled."]);
  });

  it("leaves nothing of the look for triggers behind, and does not look where nothing is to be stored", async () => {
    const backend = await database.open();
    await backend.diagnose();
    expect(await database.sql("select from pg_class where relname = 'kojin_probe'")).toEqual([]);
    expect(await database.sql("select from pg_proc where proname = 'kojin_probe'")).toEqual([]);
    expect(findingOf(await backend.diagnose({ probe: false }), "trigger support")).toBeUndefined();
  });
});

describe("a database without PL/pgSQL", () => {
  const database = specDatabase("no plpgsql", { migrated: false });
  const name = `spec_no_plpgsql_${process.pid}`;
  const address = (): string => {
    const url = new URL(database.url);
    url.pathname = `/${name}`;
    return url.href;
  };

  async function runOn(url: string | undefined, text: string): Promise<void> {
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query(text);
    await client.end();
  }
  beforeAll(async () => {
    await runOn(process.env["DATABASE_URL"], `create database ${name}`);
    await runOn(address(), "drop extension plpgsql");
  });
  afterAll(async () => {
    await runOn(process.env["DATABASE_URL"], `drop database if exists ${name} with (force)`);
  });

  it("is one that the command line says to migrate without triggers, and that then works", async () => {
    const cli = async (args: string[]): Promise<CliRun> => startCli([...args, "--url", address()]).done;
    expect((await cli(["migrate"])).exitCode).not.toBe(0);
    const before = await cli(["doctor"]);
    expect(before.stdout).toMatch(/warning +trigger support +The database has no functions in PL\/pgSQL/);
    expect(before.stdout).toContain("kojin-postgres migrate --no-triggers");
    expect((await cli(["migrate", "--no-triggers", "--dry-run"])).stdout).toContain("Would run 0003_without_triggers.");
    expect((await cli(["migrate", "--no-triggers", "--print"])).stdout).not.toMatch(/plpgsql|advisory/);
    expect((await cli(["migrate", "--no-triggers"])).stdout).toContain("Ran 0003_without_triggers.");
    expect((await cli(["status"])).stdout).toMatch(/Triggers +none: writers count/);
    const after = await cli(["doctor"]);
    expect([after.exitCode, after.stdout]).toEqual([
      0,
      expect.stringMatching(/ok +trigger support +The database has no/),
    ]);
  });

  it("stores, announces, counts and awaits", async () => {
    // In that very database, whichever way the specs take to their own.
    const options = { schema: "public", listen: true };
    const [storing, waiting] = [await database.open(options, address()), await database.open(options, address())];
    await waiting.ready();
    const waits = [waiting.wait("t", 20_000), waiting.waitGroup("g", 20_000)];
    await storing.store("t", 1);
    await storing.initGroup("g", ["a", "b"]);
    await Promise.all([storing.completeGroupMember("g", "b", 2), storing.completeGroupMember("g", "a", 1)]);
    expect(await Promise.all(waits)).toEqual([1, [1, 2]]);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });
});
