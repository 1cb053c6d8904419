import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const repository = join(__dirname, "..", "..");

/** All that an example prints; `path` is relative to examples/. An exit code other than 0, or none in time, rejects with what it has written. */
export async function runExample(path: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await run(process.execPath, ["--import", "tsx", join("examples", path)], {
    cwd: repository,
    env: { ...process.env, ...env },
    timeout: 50_000,
    killSignal: "SIGKILL",
  });
  return stdout;
}
