import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { startNats, type TemporaryServer } from "../../tools/servers";
import { PostgresServer } from "../postgres-server";
import { NotMeasured } from "../sample";
import type { TechniqueSettings } from "../technique";

/** The `application_name` of waiting processes. */
const applicationName = "waiting";

/** A Postgres server and a NATS server for waiting processes. */
export class Site implements AsyncDisposable {
  readonly postgres: PostgresServer;
  readonly #nats: TemporaryServer;

  private constructor(postgres: PostgresServer, nats: TemporaryServer) {
    this.postgres = postgres;
    this.#nats = nats;
  }

  /** @throws {@link NotMeasured} No nats-server is installed. */
  static async start(waitingProcesses: number): Promise<Site> {
    const nats = await startNats();
    if (nats === undefined) throw new NotMeasured("nats-server is not installed");
    // Each waiting process may have a connection that listens and one that reads. The rest is for the storing process.
    return new Site(await PostgresServer.start(2 * waitingProcesses + 100), nats);
  }

  /**
   * The address for waiting processes. Each has one connection to read with, since 200 processes with ten would be
   * another test.
   */
  get waitingUrl(): string {
    const url = new URL(this.postgres.url);
    url.searchParams.set("application_name", applicationName);
    url.searchParams.set("max", "1");
    return url.href;
  }

  get natsServers(): string {
    return `nats://127.0.0.1:${this.#nats.port}`;
  }

  /** Number of open Postgres connections of waiting processes and of the relay. */
  async connections(): Promise<number> {
    const [row] = await this.postgres.sql<{ count: string }>(
      `select count(*) from pg_stat_activity where application_name like '${applicationName}%'`,
    );
    return Number(row?.count);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#nats[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}

/** A way for notifications to travel from one storing process to many waiting ones. */
export interface SetUp {
  readonly name: string;
  readonly storing: TechniqueSettings;
  readonly waiting: TechniqueSettings;
  /** Starts what the set-up needs besides the processes. Gives a function that ends it. */
  start(): Promise<() => Promise<void>>;
}

export function setUps(site: Site): readonly SetUp[] {
  const { waitingUrl, natsServers } = site;
  const { url } = site.postgres;
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
