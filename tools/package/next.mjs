import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

import { install, root, run, withServer } from "./command.mjs";

/** Fails unless the example for Next, built without a database, migrates, stores and waits in its standalone server. */
export async function checkNext(folder, tarball) {
  cpSync(join(root, "examples", "next"), folder, { recursive: true });
  try {
    await install(folder, [tarball]);
  } catch (error) {
    return `skipped, since Next cannot be installed: ${error.message.split("\n").at(-1)}`;
  }
  for (const bundler of ["turbopack", "webpack"]) await build(folder, bundler);
  return undefined;
}

async function build(folder, bundler) {
  const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", DATABASE_URL: "" };
  await run(process.execPath, ["node_modules/next/dist/bin/next", "build", `--${bundler}`], {
    cwd: folder,
    env,
    timeoutMs: 300_000,
  });
  await withServer((url) => askStandaloneServer(join(folder, ".next", "standalone"), url));
}

async function askStandaloneServer(folder, databaseUrl) {
  // Below a folder of its own if Next takes a folder further up for the root of the project.
  const files = readdirSync(folder, { recursive: true }).filter((file) => /(^|[\\/])server\.js$/.test(file));
  const file = join(folder, files.find((name) => !name.includes("node_modules")) ?? "server.js");
  const env = { ...process.env, DATABASE_URL: databaseUrl, PORT: "0", HOSTNAME: "127.0.0.1" };
  const server = spawn(process.execPath, [file], { cwd: dirname(file), env, stdio: ["ignore", "pipe", "inherit"] });
  try {
    const task = `${await addressOf(server)}/tasks/built`;
    const waiting = fetch(task);
    const stored = await fetch(task, { method: "PUT", body: "[42]", signal: AbortSignal.timeout(20_000) });
    assert.equal(stored.status, 204);
    assert.deepEqual(await (await waiting).json(), [42]);
  } finally {
    server.kill();
    await once(server, "exit");
  }
}

async function addressOf(server) {
  for await (const line of createInterface(server.stdout)) {
    const address = /http:\/\/[^\s/]+/.exec(line)?.[0];
    if (address !== undefined) return address;
  }
  throw new Error("The server of Next ended before it listened.");
}
