import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { pickFreePort } from "../lib/embedded/server";
import { NotMeasured } from "./sample";

/** A NATS server for the bench alone. */
export class NatsServer {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #killNow = (): void => void this.#child.kill("SIGKILL");

  private constructor(port: number, child: ChildProcess) {
    this.url = `nats://127.0.0.1:${port}`;
    this.#child = child;
    process.once("exit", this.#killNow);
  }

  /** @throws {@link NotMeasured} No nats-server is installed. */
  static async start(): Promise<NatsServer> {
    if (spawnSync("nats-server", ["--version"]).status !== 0) throw new NotMeasured("nats-server is not installed");
    const port = await pickFreePort();
    const child = spawn("nats-server", ["--addr", "127.0.0.1", "--port", String(port)], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    for await (const line of createInterface(child.stderr)) if (line.includes("Server is ready")) break;
    child.stderr.resume();
    return new NatsServer(port, child);
  }

  async stop(): Promise<void> {
    process.removeListener("exit", this.#killNow);
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
