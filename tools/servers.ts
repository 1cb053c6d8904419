import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { pickFreePort } from "../lib/embedded/server";

/** `none`: everything is in memory and lost with the server. `always`: each write is on disk before it is confirmed. */
export type Persistence = "none" | "always";

/** Starts a Redis server, or returns undefined if there is no `redis-server` in the PATH. */
export async function startRedis(persistence: Persistence): Promise<TemporaryServer | undefined> {
  const append = persistence === "always" ? ["yes", "--appendfsync", "always"] : ["no"];
  return TemporaryServer.start({
    program: "redis-server",
    output: "stdout",
    readyLine: "Ready to accept connections",
    arguments: ["--bind", "127.0.0.1", "--save", "", "--appendonly", ...append],
    folderOption: ["--dir"],
  });
}

/** Starts a NATS server, or returns undefined if there is no `nats-server` in the PATH. */
export async function startNats(): Promise<TemporaryServer | undefined> {
  return TemporaryServer.start({
    program: "nats-server",
    output: "stderr",
    readyLine: "Server is ready",
    arguments: ["--addr", "127.0.0.1"],
    folderOption: [],
  });
}

interface Start {
  readonly program: string;
  readonly arguments: readonly string[];
  /** Option that takes the server's folder; empty if it needs none. */
  readonly folderOption: readonly string[];
  /** Where the program prints `readyLine`, once it accepts connections. */
  readonly output: "stdout" | "stderr";
  readonly readyLine: string;
}

/** A server on a free port of this machine, with a temporary folder. It ends with this process at the latest. */
export class TemporaryServer implements AsyncDisposable {
  readonly port: number;
  readonly processId: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #remove = (): void => {
    this.#child.kill("SIGKILL");
    // A killed server may go on writing for a moment.
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };

  private constructor(port: number, child: ChildProcess, folder: string) {
    this.port = port;
    this.processId = child.pid ?? 0;
    this.#child = child;
    this.#folder = folder;
    process.once("exit", this.#remove);
  }

  static async start(start: Start): Promise<TemporaryServer | undefined> {
    const { program, output, readyLine } = start;
    if (spawnSync(program, ["--version"]).status !== 0) return undefined;
    const port = await pickFreePort();
    const folder = mkdtempSync(join(tmpdir(), `${program}-`));
    const folderArguments = start.folderOption.flatMap((option) => [option, folder]);
    const child = spawn(program, [...start.arguments, "--port", String(port), ...folderArguments], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const server = new TemporaryServer(port, child, folder);
    if (!(await prints(child[output], readyLine))) {
      await server[Symbol.asyncDispose]();
      throw new Error(`${program} ended before it accepted connections.`);
    }
    // Full pipes would stop it.
    child.stdout.resume();
    child.stderr.resume();
    return server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.removeListener("exit", this.#remove);
    const hasEnded = this.#child.exitCode !== null || this.#child.signalCode !== null;
    const ended = hasEnded ? undefined : once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
    this.#remove();
  }
}

/** Resolves with true once a line contains `text`, and with false if the output ends first. */
async function prints(output: Readable, text: string): Promise<boolean> {
  for await (const line of createInterface(output)) if (line.includes(text)) return true;
  return false;
}
