import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const repository = join(__dirname, "..", "..");

/**
 * Runs an example and returns its output. `path` is relative to examples/. Rejects with the output so far after a
 * non-zero exit code or a time-out.
 */
export async function runExample(path: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await run(process.execPath, ["--import", "tsx", join("examples", path)], {
    cwd: repository,
    env: { ...process.env, ...env },
    timeout: 50_000,
    killSignal: "SIGKILL",
  });
  return stdout;
}
