import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A Redis server that keeps everything in memory. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #kill = (): void => void this.#child.kill("SIGKILL");

  private constructor(port: number, child: ChildProcess, folder: string) {
    this.port = port;
    this.#child = child;
    this.#folder = folder;
    process.once("exit", this.#kill);
  }

  /** `undefined` if there is no `redis-server` in the PATH. */
  static async start(): Promise<RedisServer | undefined> {
    if (spawnSync("redis-server", ["--version"]).status !== 0) return undefined;
    const folder = await mkdtemp(join(tmpdir(), "recipe-redis-"));
    const port = await freePort();
    const settings = [
      "--bind",
      "127.0.0.1",
      "--port",
      String(port),
      "--dir",
      folder,
      "--save",
      "",
      "--appendonly",
      "no",
    ];
    const child = spawn("redis-server", settings, { stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface(child.stdout)) if (line.includes("Ready to accept connections")) break;
    child.stdout.resume();
    return new RedisServer(port, child, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.removeListener("exit", this.#kill);
    const exited = once(this.#child, "exit");
    this.#child.kill();
    await exited;
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
