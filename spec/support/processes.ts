import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The command lines that contain `text`, such as the folder of a server: its postmaster, its watchdog, its initdb. */
export function processesNaming(text: string): string[] {
  return commandLines().filter((command) => command.includes(text));
}

/** From /proc if it exists, since slim images have no `ps`. */
function commandLines(): string[] {
  if (!existsSync("/proc/self/cmdline"))
    return execFileSync("ps", ["-A", "-ww", "-o", "args="], { encoding: "utf8" }).split("\n");
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((processId) => {
      try {
        return readFileSync(`/proc/${processId}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return ""; // It has ended meanwhile.
      }
    });
}

/** The process id of the server that runs on `dataDir`. */
export function postmasterOf(dataDir: string): number {
  return Number.parseInt(readFileSync(join(dataDir, "postmaster.pid"), "utf8"));
}

/**
 * Freezes a process; returns a function that lets it continue. Throws without a process id: a signal to 0 would freeze
 * the specs themselves, with everything that could end them.
 */
export function freeze(pid: number | undefined): () => void {
  if (pid === undefined || !(pid > 0)) throw new Error(`There is no process to freeze: ${pid ?? "no id"}.`);
  process.kill(pid, "SIGSTOP");
  return () => void process.kill(pid, "SIGCONT");
}

/** The next message of a forked process. Rejects if the process ends or disconnects before. */
export async function messageOf<T>(child: ChildProcess): Promise<T> {
  const left = once(child, "disconnect").then(() => Promise.reject(new Error("The process left without a message.")));
  const [message] = (await Promise.race([once(child, "message"), left])) as [T];
  return message;
}
