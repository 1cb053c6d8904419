import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

export const root = join(import.meta.dirname, "..", "..");

/** A failed check, with a message for people. */
export class CheckError extends Error {}

/** Runs a program and returns its output. If the program fails, the check fails with all of the output. */
export async function run(program, args, { cwd = root, env = process.env, timeoutMs = 180_000 } = {}) {
  try {
    // A process that never ends is a fault too, and must not block the check.
    const { stdout } = await promisify(execFile)(program, args, { cwd, env, timeout: timeoutMs, maxBuffer: 2 ** 26 });
    return stdout;
  } catch (cause) {
    const { stdout = "", stderr = "", killed = false, code } = cause;
    const reason = killed ? `did not end within ${timeoutMs / 1000} s` : `failed (${code})`;
    throw new CheckError(`${program} ${args.join(" ")} ${reason}\n${stdout}${stderr}`.trimEnd(), { cause });
  }
}

/** Runs a program of one of the development dependencies. */
export function runTool(name, args) {
  return run(join(root, "node_modules", ".bin", name), args);
}

/** Installs packages into an empty folder, as a user would. */
export async function install(folder, packages) {
  await run("npm", ["install", "--no-save", "--prefer-offline", "--no-audit", "--no-fund", ...packages], {
    cwd: folder,
  });
}
