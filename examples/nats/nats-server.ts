import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A NATS server on a free port. */
export class NatsServer implements AsyncDisposable {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #kill = (): void => void this.#child.kill("SIGKILL");

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
    process.once("exit", this.#kill);
  }

  /** `undefined` if there is no `nats-server` in the PATH. */
  static async start(): Promise<NatsServer | undefined> {
    if (spawnSync("nats-server", ["--version"]).status !== 0) return undefined;
    const child = spawn("nats-server", ["--addr", "127.0.0.1", "--port", "-1"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let address: string | undefined;
    // It prints its address before it is ready.
    for await (const line of createInterface(child.stderr)) {
      address ??= /Listening for client connections on (\S+)/.exec(line)?.[1];
      if (line.includes("Server is ready")) break;
    }
    child.stderr.resume();
    if (address === undefined) throw new Error("nats-server did not start.");
    return new NatsServer(`nats://${address}`, child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.removeListener("exit", this.#kill);
    const exited = once(this.#child, "exit");
    this.#child.kill();
    await exited;
  }
}
