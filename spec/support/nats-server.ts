import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pickFreePort } from "../../lib/embedded/server";
import { eventually } from "./eventually";

/** Says why NATS cannot be started here; undefined if it can. Specs that need it are then skipped with this reason. */
export function natsServerMissing(): string | undefined {
  try {
    execFileSync("nats-server", ["--version"], { stdio: "ignore" });
    return undefined;
  } catch {
    return "nats-server is not installed (Debian: apt-get install nats-server).";
  }
}

/** Facts about one connection from a server's monitoring. */
export interface NatsConnectionFacts {
  readonly name: string;
  /** Messages that were delivered to it. */
  readonly out_msgs: number;
  readonly in_msgs: number;
  readonly subscriptions_list: readonly string[];
}

interface Ports {
  readonly client: number;
  readonly cluster: number;
  readonly monitor: number;
}

/** A real server on ports of its own, which can be killed and restarted on them. */
export class NatsServer {
  readonly url: string;
  readonly #ports: Ports;
  readonly #folder: string;
  readonly #configuration: string;
  #child: ChildProcess | undefined;

  private constructor(ports: Ports, configuration: string) {
    this.url = `nats://127.0.0.1:${ports.client}`;
    this.#ports = ports;
    this.#folder = mkdtempSync(join(tmpdir(), "nats-server-"));
    this.#configuration = configuration;
  }

  /** `extra` is added to the configuration file, such as permissions. */
  static async start(extra = ""): Promise<NatsServer> {
    const server = NatsServer.prepare(await pickPorts(), extra);
    await server.start();
    return server;
  }

  /** Starts a cluster of servers. */
  static async startCluster(size: number): Promise<NatsServer[]> {
    const ports: Ports[] = [];
    for (let count = 0; count < size; count += 1) ports.push(await pickPorts());
    const routes = ports.map(({ cluster }) => `"nats://127.0.0.1:${cluster}"`).join(", ");
    const servers = ports.map((own) =>
      NatsServer.prepare(
        own,
        `cluster { name: specs, listen: "127.0.0.1:${own.cluster}", routes: [${routes}], no_advertise: true }`,
      ),
    );
    for (const server of servers) await server.start();
    for (const server of servers)
      await eventually(
        async () => {
          if ((await server.#ask<{ num_routes: number }>("routez")).num_routes < size - 1) throw new Error("no routes");
        },
        { timeoutMs: 10_000 },
      );
    return servers;
  }

  private static prepare(ports: Ports, extra: string): NatsServer {
    return new NatsServer(ports, `listen: "127.0.0.1:${ports.client}"\nhttp: "127.0.0.1:${ports.monitor}"\n${extra}\n`);
  }

  /** Reserves the ports of a server that is not running yet. */
  static async absent(): Promise<NatsServer> {
    return NatsServer.prepare(await pickPorts(), "");
  }

  async start(extra = ""): Promise<void> {
    const file = join(this.#folder, "nats.conf");
    writeFileSync(file, this.#configuration + extra);
    const child = spawn("nats-server", ["--config", file], { stdio: "ignore" });
    this.#child = child;
    await eventually(
      async () => {
        if (child.exitCode !== null) throw new Error(`nats-server has ended with ${child.exitCode}`);
        const socket = connect(this.#ports.client, "127.0.0.1");
        try {
          await once(socket, "data", { signal: AbortSignal.timeout(2_000) });
        } finally {
          socket.destroy();
        }
      },
      { timeoutMs: 10_000 },
    );
  }

  /** Ends it, by default as a crash does. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Stops the process, which then neither answers nor closes anything until it is continued. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    this.thaw();
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The current connections. */
  async connections(): Promise<NatsConnectionFacts[]> {
    return (await this.#ask<{ connections: NatsConnectionFacts[] }>("connz?subs=1")).connections.map((each) => ({
      ...each,
      // Absent for a connection without subscriptions.
      subscriptions_list: (each.subscriptions_list as readonly string[] | undefined) ?? [],
    }));
  }

  async #ask<T>(path: string): Promise<T> {
    const response = await fetch(`http://127.0.0.1:${this.#ports.monitor}/${path}`);
    return (await response.json()) as T;
  }
}

async function pickPorts(): Promise<Ports> {
  return { client: await pickFreePort(), cluster: await pickFreePort(), monitor: await pickFreePort() };
}
