import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The command lines that contain `text`, such as the folder of a server: its postmaster, its watchdog, its initdb. */
export function processesNaming(text: string): string[] {
  const commands = execFileSync("ps", ["-A", "-ww", "-o", "args="], { encoding: "utf8" });
  return commands.split("\n").filter((command) => command.includes(text));
}

/** The process id of the server that runs on `dataDir`. */
export function postmasterOf(dataDir: string): number {
  return Number.parseInt(readFileSync(join(dataDir, "postmaster.pid"), "utf8"));
}

/** Specs on what root is allowed anyway, and on Windows does not exist. */
export const itAsOrdinaryUser = process.platform === "win32" || process.getuid?.() === 0 ? it.skip : it;

/** Specs on what only root has to cope with. */
export const itAsRoot = process.getuid?.() === 0 ? it : it.skip;
