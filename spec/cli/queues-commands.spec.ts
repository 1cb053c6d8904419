import type { AttachReport, Inspection } from "kojin-postgres";
import { JobsTable } from "../attach/support/jobs-table";
import { specDatabase } from "../support/spec-database";
import { inVariant } from "../support/variant";
import { type CliRun, startCli } from "./support/run-cli";

describe("attach and detach", () => {
  const database = specDatabase("cli queues");
  const schema = `${database.schema} queue`;
  const jobs = new JobsTable(database, schema, "jobs");
  const { poolUrl } = inVariant(database.url);
  const run = async (...args: readonly string[]): Promise<CliRun> => startCli([...args, "--url", poolUrl]).done;
  const place = ["--schema", schema, "--into", database.schema];
  const described = [
    "--table=jobs",
    "--id=id",
    "--succeeded=state = 'completed'",
    "--failed=state = 'failed'",
    "--result=output",
    "--error=error",
  ];

  beforeAll(async () => {
    await jobs.create();
    await jobs.add("1", "2");
    await jobs.complete("1", { pages: 3 });
  });

  it("copy what has finished, and what finishes later; status shows it", async () => {
    const attached = await run("attach", "table", ...described, ...place, "--prefix", "job:", "--ttl", "never");
    expect(attached).toEqual({
      exitCode: 0,
      stdout: `Attached ${schema}.jobs: 1 earlier outcomes copied, 0 skipped.\n`,
      stderr: "1 outcomes copied …\n",
    });
    await jobs.complete("2", "later");
    const results = ["--schema", database.schema];
    expect((await run("wait", "job:2", ...results)).stdout).toBe('"later"\n');
    expect((await run("get", "job:1", ...results)).stdout).toContain('"pages": 3');
    expect((await run("status", ...results)).stdout).toContain(`Attached   ${schema}.jobs, prefix "job:"\n`);
    const status = JSON.parse((await run("status", ...results, "--json")).stdout) as Inspection;
    expect(status.attached).toMatchObject([{ queue: "table", table: "jobs", ttlMs: null }]);
    const again = await run("attach", "table", ...described, ...place, "--no-backfill", "--json");
    expect(JSON.parse(again.stdout) as AttachReport).toMatchObject({ copied: 0, attached: [{ prefix: "" }] });
    expect((await run("detach", "table", "--table", "jobs", ...place)).stdout).toBe("Detached.\n");
    expect((await run("detach", "table", "--table", "jobs", ...place)).stdout).toContain("it was not attached");
    expect((await run("status", ...results)).stdout).not.toContain("Attached");
  });

  it("tell of the session that holds the lock on the table", async () => {
    const stranger = await database.pool.connect();
    await stranger.query("begin");
    await stranger.query(`lock table ${jobs.name} in row exclusive mode`);
    const { exitCode, stderr } = await run("attach", "table", ...described, ...place, "--lock-wait", "1");
    await stranger.query("rollback");
    stranger.release();
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/Could not attach to .*\.jobs: waited .* held by process \d+ \(application "spec admin"/);
  });

  it("refuse wrong arguments with 2, and say what is missing", async () => {
    for (const [args, message] of [
      [["attach", "table", "--id", "id"], '"table" needs --table.'],
      [["attach", "table", "--table", "jobs", "--id", "id"], '"table" needs --succeeded.'],
      [["attach", "river"], "expected pg-boss, dbos, or the description of a table"],
      [["attach", "pg-boss", "--id", "id"], "--id describes a table"],
      [["detach", "table"], '"table" needs --table.'],
    ] as const) {
      const { exitCode, stderr } = await run(...args, "--into", database.schema);
      expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining(message) as string });
    }
    const { exitCode, stderr } = await run("attach", "pg-boss", "--into", database.schema, "--schema", schema);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining("does not exist") as string });
  });
});
