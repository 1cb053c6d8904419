import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export const root = join(import.meta.dirname, "..", "..");

/** What a check found; its message is meant for people. */
export class CheckError extends Error {}

/** Runs a program and gives what it printed. When it fails, so does the check, with all the output. */
export async function run(program, args, { cwd = root, env = process.env, timeoutMs = 180_000 } = {}) {
  try {
    // A process that something keeps alive is a fault too, and must not hold up the check.
    const { stdout } = await promisify(execFile)(program, args, { cwd, env, timeout: timeoutMs, maxBuffer: 2 ** 26 });
    return stdout;
  } catch (cause) {
    const { stdout = "", stderr = "", killed = false, code } = cause;
    const reason = killed ? `did not end within ${timeoutMs / 1000} s` : `failed (${code})`;
    throw new CheckError(`${program} ${args.join(" ")} ${reason}\n${stdout}${stderr}`.trimEnd(), { cause });
  }
}

/** Runs a program of one of this package's development dependencies. */
export function runTool(name, args) {
  return run(join(root, "node_modules", ".bin", name), args);
}

/** Installs packages into a folder that has no others, as a user would. */
export async function install(folder, packages) {
  await run("npm", ["install", "--no-save", "--prefer-offline", "--no-audit", "--no-fund", ...packages], {
    cwd: folder,
  });
}
