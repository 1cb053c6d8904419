import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

import { ExitHooks } from "../../lib/embedded/process-end";
import { isPortTaken } from "../../lib/embedded/server";
import { eventually } from "../support/eventually";
import { processesNaming } from "../support/processes";
import { itAsRoot } from "../support/where";
import { Program } from "./support/program";
import { tempFolder } from "./support/temp-folder";

const folder = tempFolder();
let count = 0;
const newFolder = () => join(folder, `temp-${++count}`);

// Shorter than the 10 s after which the watchdog itself turns to SIGKILL.
const withinWatchdog = { timeoutMs: 8_000 };

it.each([
  ["stop", 0],
  ["forget to stop", 0],
  ["exit", 7],
  ["throw", 1],
])("leaves nothing when the program ends with: %s", async (end, exitCode) => {
  const program = new Program(newFolder(), end);
  const { serverFolder } = await program.started();
  expect(await program.ended()).toBe(exitCode);
  expect(processesNaming(serverFolder)).toEqual([]);
  expect(program.leftovers).toEqual([]);
});

it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
  "stops the server on %s, and then ends by that signal",
  async (signal) => {
    const program = new Program(newFolder(), "wait");
    const { serverFolder } = await program.started();
    expect(processesNaming(serverFolder).length).toBeGreaterThanOrEqual(2);
    // The whole group, as a terminal does it.
    process.kill(-program.processId, signal);
    expect(await program.ended()).toBe(signal);
    expect(processesNaming(serverFolder)).toEqual([]);
    expect(program.leftovers).toEqual([]);
  },
);

it("leaves the decision to the program if that listens to the signal too", async () => {
  const program = new Program(newFolder(), "decide itself");
  const { serverFolder } = await program.started();
  process.kill(program.processId, "SIGTERM");
  expect(await program.ended()).toBe(5);
  expect(processesNaming(serverFolder)).toEqual([]);
  expect(program.leftovers).toEqual([]);
});

it("ends the server shortly after the program was killed", async () => {
  const program = new Program(newFolder(), "wait");
  const { serverFolder, port } = await program.started();
  expect(await isPortTaken(port)).toBe(true);
  process.kill(program.processId, "SIGKILL");
  expect(await program.ended()).toBe("SIGKILL");
  await eventually(() => {
    expect(processesNaming(serverFolder)).toEqual([]);
    expect(program.leftovers).toEqual([]);
  }, withinWatchdog);
  expect(await isPortTaken(port)).toBe(false);
});

it("leaves nothing when the program is killed while it starts a server", async () => {
  const temp = newFolder();
  const program = new Program(temp, "wait");
  await eventually(() => {
    const [name = "none yet"] = program.leftovers;
    expect(existsSync(join(temp, name, "data", "PG_VERSION"))).toBe(true);
  }, withinWatchdog);
  process.kill(program.processId, "SIGKILL");
  expect(await program.ended()).toBe("SIGKILL");
  await eventually(() => {
    expect(processesNaming(temp)).toEqual([]);
    expect(program.leftovers).toEqual([]);
  }, withinWatchdog);
});

it("leaves nothing when the server does not start", async () => {
  const temp = newFolder();
  const program = new Program(temp, "fail to start");
  expect(await program.ended()).toBe(0);
  expect(processesNaming(temp)).toEqual([]);
  expect(program.leftovers).toEqual([]);
});

itAsRoot()("works for an ordinary user too", async () => {
  const identity = { uid: 65_534, gid: 65_534 };
  const repository = resolve(__dirname, "../..");
  const probe = spawnSync(process.execPath, ["--import", "tsx", "-e", "0"], {
    ...identity,
    cwd: repository,
    encoding: "utf8",
  });
  if (probe.status !== 0) {
    console.warn(
      `Not checked as an ordinary user, who may not run this checkout: ${probe.error?.message ?? probe.stderr}`,
    );
    return;
  }
  const program = new Program(newFolder(), "stop", identity);
  const { serverFolder } = await program.started();
  expect(serverFolder).toContain(folder);
  expect(await program.ended()).toBe(0);
  expect(program.leftovers).toEqual([]);
});

const exitEvents = ["exit", "SIGINT", "SIGTERM", "SIGHUP"];
const listenerCounts = () => exitEvents.map((event) => process.listenerCount(event));
const stoppable = () => ({ stop: () => Promise.resolve(), stopNow: () => undefined });

it("listens only while there is something to stop", () => {
  const hooks = new ExitHooks();
  const before = listenerCounts();
  const [first, second] = [stoppable(), stoppable()];
  hooks.add(first);
  hooks.add(second);
  expect(listenerCounts()).toEqual(before.map((count) => count + 1));
  hooks.delete(first);
  hooks.delete(first);
  expect(listenerCounts()).toEqual(before.map((count) => count + 1));
  hooks.delete(second);
  expect(listenerCounts()).toEqual(before);
});
