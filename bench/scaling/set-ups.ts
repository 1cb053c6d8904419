import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TechniqueSettings } from "../technique";
import type { Site } from "./site";

/** A way for notifications to travel from one storing process to many waiting ones. */
export interface SetUp {
  readonly name: string;
  readonly storing: TechniqueSettings;
  readonly waiting: TechniqueSettings;
  /** Starts what the set-up needs besides the processes. Gives a function that ends it. */
  start(): Promise<() => Promise<void>>;
}

export function setUps(site: Site): readonly SetUp[] {
  const { url, waitingUrl, natsServers } = site;
  const nothing = async (): Promise<() => Promise<void>> => Promise.resolve(async () => Promise.resolve());
  const byNats = { technique: "ours", url: waitingUrl, natsServers } as const;
  return [
    {
      name: "LISTEN",
      storing: { technique: "ours", url },
      waiting: { technique: "ours", url: waitingUrl },
      start: nothing,
    },
    {
      name: "relay",
      storing: { technique: "ours", url },
      waiting: byNats,
      start: async () => startRelay(waitingUrl, natsServers),
    },
    { name: "NATS", storing: { technique: "ours", url, natsServers }, waiting: byNats, start: nothing },
  ];
}

/** Runs the command as an operator would. Its connections count as those of waiting processes. */
async function startRelay(url: string, natsServers: string): Promise<() => Promise<void>> {
  const command = join(__dirname, "..", "..", "..", "..", "dist", "cli", "main.js");
  const child = spawn(process.execPath, [command, "relay", "--url", url, "--nats", natsServers, "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  await relaying(child);
  return async () => {
    process.removeListener("exit", kill);
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  };
}

async function relaying(child: ChildProcess): Promise<void> {
  if (child.stdout === null) throw new TypeError("expected a pipe from the relay");
  for await (const line of createInterface(child.stdout)) {
    const { ok, role } = JSON.parse(line) as { ok?: boolean; role?: string };
    if (ok === true && role === "leader") {
      child.stdout.resume();
      return;
    }
  }
  throw new Error(`The relay has ended with exit code ${child.exitCode ?? "unknown"}.`);
}
