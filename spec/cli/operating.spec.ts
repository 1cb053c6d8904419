import { escapeIdentifier } from "pg";
import type { Diagnosis, Health, Inspection } from "kojin-postgres";
import { latestVersion, migrations } from "../../lib/schema/migration-files";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { createCrateTables } from "../schema/support/crate-tables";
import { cliOf } from "./support/run-cli";

describe("migrate, status, doctor and prune", () => {
  const database = specDatabase("cli operating", { migrated: false });
  const cli = cliOf(database);
  const name = escapeIdentifier(database.schema);

  it("migrate says what it would run, prints it, runs it, and then finds nothing to do", async () => {
    const version = latestVersion;
    expect(await cli.json(["migrate", "--dry-run"])).toMatchObject({ version: 0, dryRun: true, repaired: [] });
    expect((await cli.run(["migrate", "--dry-run"])).stdout).toContain(
      migrations.map(({ name: each }) => `Would run ${each}.\n`).join(""),
    );
    const printed = await cli.run(["migrate", "--print"]);
    expect(printed.stdout).toContain(`create table if not exists ${name}.kojin_results`);
    const online = await cli.run(["migrate", "--print", "--online"]);
    expect(online.stdout).toContain("create index concurrently if not exists");
    expect(await database.sql("select from pg_namespace where nspname = $1", [database.schema])).toEqual([]);

    const ran = migrations.map(({ name: each }) => `Ran ${each}.\n`);
    const { stdout } = await cli.run(["migrate"]);
    expect(stdout).toBe(`${ran.join("")}Schema ${name} has version ${version}.\n`);
    expect(await cli.json(["migrate"])).toEqual({
      schema: database.schema,
      version,
      dryRun: false,
      applied: [],
      repaired: [],
    });
    expect((await cli.run(["migrate", "--dry-run", "--print"])).stdout).toBe("");
    // It prints everything, whatever the database has.
    expect((await cli.run(["migrate", "--print"])).stdout).toBe(printed.stdout);
  });

  it("migrate tells of its steps, and of the sessions that it waits for", async () => {
    const schema = `${database.schema} steps`;
    database.createSchema(schema);
    await createCrateTables(database, schema);
    const steps = cliOf({ ...database, schema });
    const stranger = await database.pool.connect();
    await stranger.query("select pg_advisory_lock(hashtextextended($1, 0))", [`kojin-postgres migrate ${schema}`]);
    const refused = await steps.run(["migrate", "--lock-wait", "1s"]);
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toMatch(/its migration lock, held by process \d+ \(application "spec admin"/);
    stranger.release(true);
    const { exitCode, stderr } = await steps.run(["migrate"]);
    expect({ exitCode, steps: stderr.split("\n").slice(0, 2) }).toEqual({
      exitCode: 0,
      steps: ["0001_results: Tables of results …", "0001_results: Columns of kojin_results …"],
    });
    expect((await steps.run(["migrate", "--recount"])).stderr).toContain("recount: Counts of groups");
  });

  it("status shows what there is, and ends with 0 while all is well", async () => {
    await cli.run(["store", "shown", "1"]);
    const { exitCode, stdout, stderr } = await cli.run(["status"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    for (const words of [
      `version ${latestVersion} of ${latestVersion}`,
      "kojin_results",
      "0 results, 0 groups and 0 streams to prune",
      "Health     ok",
    ])
      expect(stdout).toContain(words);
    expect(stdout).toMatch(/^Triggers +(\d+) of \1 enabled$/m);
    expect(stdout).toMatch(/^Listening +yes, [\d.]+ ms from the pool to the listener$/m);
    expect(stdout).not.toContain(new URL(database.url).password);
    const status = await cli.json<Inspection & { health: Health }>(["status"]);
    expect(status).toMatchObject({ schemaVersion: latestVersion, health: { ok: true, status: "listening" } });
  });

  it("status and doctor end with 1 when something is wrong, and say what to do; migrate mends it", async () => {
    await database.sql(`alter table ${name}.kojin_results disable trigger kojin_results_notify_insert`);
    const status = await cli.run(["status"]);
    expect(status.exitCode).toBe(1);
    expect(status.stdout).toContain("kojin_results_notify_insert is disabled");
    expect(status.stderr).toContain("kojin-postgres doctor");
    const doctor = await cli.run(["doctor", "--no-probe"]);
    expect(doctor.exitCode).toBe(1);
    expect(doctor.stdout).toMatch(/^PROBLEM +triggers .*kojin_results_notify_insert/m);
    expect(doctor.stdout).toMatch(/^ +Remedy: .*kojin-postgres migrate/m);
    expect(doctor.stdout).toContain("1 problem found.");
    expect((await cli.run(["migrate", "--dry-run"])).stdout).toContain(
      "Would repair the trigger kojin_results_notify_insert.",
    );
    expect((await cli.run(["migrate"])).stdout).toContain("Repaired the trigger kojin_results_notify_insert.");
    expect((await cli.run(["doctor"])).exitCode).toBe(0);
  });

  it("doctor gives its findings as one object", async () => {
    const { ok, checks } = await cli.json<{ ok: boolean; checks: Diagnosis[] }>(["doctor"]);
    expect(ok).toBe(true);
    expect(checks.find(({ check }) => check === "round-trip")?.verdict).toBe("ok");
  });

  it("prune counts, deletes, and tells how much", async () => {
    const backend = await database.open();
    await Promise.all(Array.from({ length: 25 }, async (_, index) => backend.store(`p${index}`, 1, { ttlMs: 1 })));
    await eventually(async () => expect((await backend.countExpired()).results).toBe(25));
    expect((await cli.run(["prune", "--older-than", "1d"])).stdout).toBe(
      "Deleted 0 results, 0 groups and 0 streams.\n",
    );
    expect((await cli.run(["prune", "--dry-run"])).stdout).toBe("Would delete 25 results, 0 groups and 0 streams.\n");
    const bars = await cli.run(["prune", "--batch", "10"], { isTerminal: true });
    expect(bars).toMatchObject({ exitCode: 0, stderr: "" });
    expect(bars.stdout).toContain("25 of 25 rows deleted");
    expect(bars.stdout).toContain("Deleted 25 results, 0 groups and 0 streams.");
    expect(await cli.json(["prune"])).toEqual({ results: 0, groups: 0, streams: 0, dryRun: false, interrupted: false });
  });

  it("prune ends in order when it is interrupted, and tells what is gone", async () => {
    const backend = await database.open();
    await Promise.all(Array.from({ length: 300 }, async (_, index) => backend.store(`i${index}`, 1, { ttlMs: 1 })));
    await eventually(async () => expect((await backend.countExpired()).results).toBe(300));
    const pruning = cli.start(["prune", "--batch", "1", "--json"]);
    await eventually(async () => expect((await backend.countExpired()).results).toBeLessThan(300), { intervalMs: 1 });
    pruning.interrupt();
    const { exitCode, stdout, stderr } = await pruning.done;
    expect({ exitCode, stderr }).toEqual({ exitCode: 130, stderr: "" });
    const { results, interrupted } = JSON.parse(stdout) as { results: number; interrupted: boolean };
    expect(interrupted).toBe(true);
    expect(results).toBeLessThan(300);
    expect((await backend.countExpired()).results).toBe(300 - results);
  });
});
