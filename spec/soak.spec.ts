import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const repository = join(__dirname, "..");

async function soak(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  // Rejects with the whole output after a non-zero exit code or a time-out.
  return run(process.execPath, ["--import", "tsx", join("soak", "main.ts"), ...args], {
    cwd: repository,
    timeout: 150_000,
    killSignal: "SIGKILL",
  });
}

describe("the soak", () => {
  it("keeps all promises for a few seconds, says what it did, and ends by itself", async () => {
    const { stdout, stderr } = await soak("--minutes", "0.1", "--seed", "spec");
    expect(stderr).toBe("");
    expect(stdout).toContain("--seed spec");
    expect(stdout).toMatch(/│ lost: .* │ +0 │/);
    expect(stdout).toMatch(/│ stores acknowledged +│ +[1-9]\d* │/);
    expect(stdout).toMatch(/No promise was broken\.\n$/);
  }, 160_000);

  it("rejects wrong arguments with exit code 2", async () => {
    await expect(soak("--minutes", "-1")).rejects.toMatchObject({ code: 2 });
    await expect(soak("--hours", "1")).rejects.toMatchObject({ code: 2 });
    expect((await soak("--help")).stdout).toContain("Usage: npm run soak");
  });
});
