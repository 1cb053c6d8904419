import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { pickFreePort } from "../../lib/embedded/server";
import { eventually } from "./eventually";

/**
 * Says why PgBouncer cannot be started here; undefined if it can. Specs that need it are then skipped with this reason.
 */
export function pgBouncerMissing(): string | undefined {
  try {
    execFileSync("pgbouncer", ["--version"], { stdio: "ignore" });
    return undefined;
  } catch {
    return "PgBouncer is not installed (Debian: apt-get install pgbouncer).";
  }
}

/** A real PgBouncer in front of a server. */
export class PgBouncer {
  /** The server's address by way of PgBouncer. */
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(url: string, child: ChildProcess, folder: string) {
    this.url = url;
    this.#child = child;
    this.#folder = folder;
  }

  /**
   * @param serverUrl - With the password of a superuser. Other roles log in with their own.
   * @param poolSize - Connections to the server for each pair of user and database.
   * @param listenPort - The port to listen on. Default: a free one.
   */
  static async start(
    serverUrl: string,
    mode: "transaction" | "session",
    poolSize = 2,
    listenPort?: number,
  ): Promise<PgBouncer> {
    const { hostname, port, username, password } = new URL(serverUrl);
    const folder = mkdtempSync(join(tmpdir(), "pgbouncer-"));
    const ownPort = listenPort ?? (await pickFreePort());
    const [configuration, users] = [join(folder, "pgbouncer.ini"), join(folder, "users.txt")];
    writeFileSync(users, `"${username}" "${decodeURIComponent(password)}"\n`, { mode: 0o644 });
    writeFileSync(
      configuration,
      `[databases]
* = host=${hostname} port=${port} auth_user=${username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${ownPort}
unix_socket_dir =
pool_mode = ${mode}
default_pool_size = ${poolSize}
max_client_conn = 500
auth_type = scram-sha-256
auth_file = ${users}
auth_query = select rolname, rolpassword from pg_authid where rolname = $1
`,
    );
    // It refuses to run as root, and reads its files before it changes its user.
    execFileSync("chmod", ["755", folder]);
    const account = process.getuid?.() === 0 ? ["--user=nobody"] : [];
    const child = spawn("pgbouncer", ["--quiet", ...account, configuration], { stdio: "ignore" });
    const url = new URL(serverUrl);
    url.hostname = "127.0.0.1";
    url.port = String(ownPort);
    // PgBouncer refuses startup options.
    url.searchParams.delete("options");
    const bouncer = new PgBouncer(url.href, child, folder);
    await eventually(async () => probe(bouncer.url), { timeoutMs: 10_000 });
    return bouncer;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function probe(url: string): Promise<void> {
  const client = new Client(url);
  client.on("error", () => undefined);
  await client.connect();
  await client.query("select 1");
  await client.end();
}
