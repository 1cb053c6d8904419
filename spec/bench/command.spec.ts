import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs the bench with arguments that measure nothing. Rejects with the output and exit code of a failure. */
async function bench(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return run(process.execPath, ["--import", "tsx", join("bench", "main.ts"), ...args], {
    cwd: join(__dirname, "..", ".."),
    timeout: 50_000,
  });
}

describe("the command", () => {
  it("explains the rows whose names match, without measuring", async () => {
    const { stdout, stderr } = await bench("--explain", "--only", "AGAINST POLLING");
    expect(stderr).toBe("");
    expect(stdout).toContain("store → wait, one at a time, against polling");
    expect(stdout).toContain("bench/techniques/plain-postgres.ts, polling");
    expect(stdout).toContain("insert into bench_polled (task_id, result) values ($1, $2)");
    expect(stdout).not.toContain("Redis");
  });

  it("names the rows if none matches", async () => {
    await expect(bench("--only", "no such row")).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        /^No row has a name like .*no such row.*\nstore → wait, one at a time\n/m,
      ) as string,
    });
  });

  it("prints the usage after a wrong argument", async () => {
    await expect(bench("--fast")).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--fast[^]*Usage: npm run bench/) as string,
    });
  });

  it("ends before it measures if the earlier result is damaged", async () => {
    const folder = mkdtempSync(join(tmpdir(), "bench-damaged-"));
    try {
      const file = join(folder, "old.json");
      writeFileSync(file, '{"format": 1,');
      const failure = await bench("--compare", file).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 2, stdout: "" });
      expect((failure as { stderr: string }).stderr).toMatch(/^The earlier result .*old\.json cannot be read: .*JSON/);
      // A message for users, without a stack.
      expect((failure as { stderr: string }).stderr).not.toMatch(/\n {4}at /);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
