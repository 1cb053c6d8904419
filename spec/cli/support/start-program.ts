import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const repository = join(__dirname, "..", "..", "..");

export interface StartedProgram {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly exit: Promise<[number | null, NodeJS.Signals | null]>;
}

/** The program as it is run, but for being compiled. */
export function startProgram(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  stdin: "ignore" | "pipe" = "ignore",
): StartedProgram {
  const child = spawn(process.execPath, ["--import", "tsx", join("lib", "cli", "main.ts"), ...args], {
    cwd: repository,
    env: { ...process.env, DATABASE_URL: "", ...env },
    stdio: [stdin, "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (err += chunk.toString()));
  const exit = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  return { child, stdout: () => out, stderr: () => err, exit };
}
