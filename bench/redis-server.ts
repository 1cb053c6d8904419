import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pickFreePort } from "../lib/embedded/server";
import { NotMeasured } from "./sample";

/** A killed server may go on writing for a moment. */
const removal = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 };

/** `none`: everything is in memory and lost with the server. `always`: each write is on disk before it is confirmed. */
export type Persistence = "none" | "always";

/** A Redis server in a temporary folder. */
export class RedisServer {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #removeNow = (): void => {
    this.#child.kill("SIGKILL");
    rmSync(this.#folder, removal);
  };

  private constructor(port: number, child: ChildProcess, folder: string) {
    this.port = port;
    this.#child = child;
    this.#folder = folder;
    process.once("exit", this.#removeNow);
  }

  /** @throws {@link NotMeasured} No redis-server is installed. */
  static async start(persistence: Persistence): Promise<RedisServer> {
    if (spawnSync("redis-server", ["--version"]).status !== 0) throw new NotMeasured("redis-server is not installed");
    const folder = await mkdtemp(join(tmpdir(), "bench-redis-"));
    const port = await pickFreePort();
    const append = persistence === "always" ? ["yes", "--appendfsync", "always"] : ["no"];
    const child = spawn(
      "redis-server",
      ["--bind", "127.0.0.1", "--port", String(port), "--dir", folder, "--save", "", "--appendonly", ...append],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    for await (const line of createInterface(child.stdout)) if (line.includes("Ready to accept connections")) break;
    child.stdout.resume();
    return new RedisServer(port, child, folder);
  }

  /** Process id of the server. */
  get processId(): number {
    return this.#child.pid ?? 0;
  }

  async stop(): Promise<void> {
    process.removeListener("exit", this.#removeNow);
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
    await rm(this.#folder, removal);
  }
}
