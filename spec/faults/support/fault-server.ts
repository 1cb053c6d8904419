import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { postmasterOf } from "../../support/processes";
import { eventually } from "../../support/eventually";
import { installedPostgres } from "../../support/postgres-version";

/** A server for one spec, which can be stopped, killed and restarted with the same port, password and data. */
export class FaultServer {
  readonly #dataDir: string;
  readonly #folder: string;
  readonly #settings: Readonly<Record<string, string>>;
  #running: EmbeddedPostgres;
  #isUp = true;

  private constructor(running: EmbeddedPostgres, folder: string, settings: Readonly<Record<string, string>>) {
    this.#running = running;
    this.#folder = folder;
    this.#dataDir = running.dataDir;
    this.#settings = settings;
  }

  static async start(given: Readonly<Record<string, string>> = {}): Promise<FaultServer> {
    // No machine loses power while specs run, and on a busy disk a commit that must reach it can take ten seconds.
    const settings = { fsync: "off", ...given };
    const folder = await createFolder();
    const dataDir = join(folder, "data");
    const shared = process.env["SPEC_EMPTY_CLUSTER"];
    if (shared !== undefined) await copyCluster(await emptyCluster(shared), dataDir);
    const running = await startEmbeddedPostgres({ dataDir, persistent: true, settings, ...installedPostgres() });
    return new FaultServer(running, folder, settings);
  }

  get url(): string {
    return this.#running.url;
  }

  /**
   * Stops the server as an operator would, or as a crash does (`kill -9` of the postmaster). Resolves once the
   * postmaster is gone.
   */
  async stop(how: "fast" | "immediate" | "kill -9"): Promise<void> {
    if (!this.#isUp) return;
    this.#isUp = false;
    if (how === "kill -9") process.kill(postmasterOf(this.#dataDir), "SIGKILL");
    await this.#running.stop(how === "fast" ? "fast" : "immediate");
  }

  /** Starts it again. After a kill, a new postmaster refuses to start until the old children have noticed. */
  async start(): Promise<void> {
    const port = this.#running.port;
    const restart = async (): Promise<EmbeddedPostgres> =>
      startEmbeddedPostgres({
        dataDir: this.#dataDir,
        persistent: true,
        port,
        settings: this.#settings,
        ...installedPostgres(),
      });
    this.#running = await eventually(restart, { timeoutMs: 20_000, intervalMs: 200 });
    this.#isUp = true;
  }

  /**
   * Starts a standby with the same data, which follows this server until it is promoted. Restarts this server for the
   * copy.
   */
  async startStandby(): Promise<FaultServer> {
    await this.stop("fast");
    const folder = await createFolder();
    const dataDir = join(folder, "data");
    await copyCluster(this.#dataDir, dataDir);
    await this.start();
    await writeFile(join(dataDir, "standby.signal"), "");
    const { username, password, hostname, port } = new URL(this.url);
    const settings = {
      ...this.#settings,
      primary_conninfo: `host=${hostname} port=${port} user=${username} password=${password}`,
    };
    return new FaultServer(
      await startEmbeddedPostgres({ dataDir, persistent: true, settings, ...installedPostgres() }),
      folder,
      settings,
    );
  }

  /** Runs statements on a connection of their own and returns the rows of the last. */
  async sql<Row>(text: string, values: unknown[] = []): Promise<Row[]> {
    const client = new Client({ connectionString: this.url, application_name: "spec admin" });
    client.on("error", () => undefined);
    await client.connect();
    try {
      const { rows } = await (values.length === 0 ? client.query(text) : client.query(text, values));
      return rows as Row[];
    } finally {
      await client.end();
    }
  }

  /** Sessions on the server other than the specs' own: none, once every backend is closed. */
  async clients(): Promise<{ pid: number; application_name: string; state: string; wait_event: string | null }[]> {
    return this.sql(
      `select pid, application_name, state, wait_event from pg_stat_activity
       where backend_type = 'client backend' and application_name <> 'spec admin'`,
    );
  }

  /** Changes settings of the running server by a reload. `null` resets a setting. */
  async configure(settings: Readonly<Record<string, string | null>>): Promise<void> {
    for (const [name, value] of Object.entries(settings)) {
      await this.sql(
        value === null ? `alter system reset ${name}` : `alter system set ${name} = '${value.replaceAll("'", "''")}'`,
      );
    }
    await this.sql("select pg_reload_conf()");
  }

  async remove(): Promise<void> {
    await this.stop("immediate");
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** Creates a temporary folder that the server's account may enter. */
async function createFolder(path = join(tmpdir(), "fault-server-")): Promise<string> {
  const folder = await mkdtemp(path);
  await chmod(folder, 0o755);
  return folder;
}

/**
 * Returns the data folder of an empty cluster, which the first that asks creates for all specs of a run: initdb takes
 * two seconds of processor time, a copy hardly any.
 *
 * @param shared - the folder for it, which global-setup names. Without one, as in the soak, each server runs initdb.
 */
async function emptyCluster(shared: string): Promise<string> {
  if (!existsSync(shared)) {
    const folder = await createFolder(`${shared}-`);
    const dataDir = join(folder, "data");
    const server = await startEmbeddedPostgres({ dataDir, persistent: true, ...installedPostgres() });
    await server.stop();
    // Fails if another worker was faster.
    await rename(folder, shared).catch(async () => rm(folder, { recursive: true }));
  }
  return join(shared, "data");
}

/** Copies a data folder, with owners and modes, on which Postgres insists. */
async function copyCluster(from: string, to: string): Promise<void> {
  await promisify(execFile)("cp", ["-a", from, to]);
}
