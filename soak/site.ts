import { Client } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { destroySocket } from "../lib/database/connection";
import { postgresMajor } from "../spec/support/postgres-version";
import { FaultServer } from "../spec/faults/support/fault-server";
import { eventually } from "../spec/support/eventually";
import { withParameter } from "../spec/support/spec-database";
import { TcpProxy } from "../spec/support/tcp-proxy";
import type { WorkerSetup } from "./protocol";

const schema = "soak";
const adminName = "soak admin";
/** The `application_name` of the workers. */
const workerName = "soak worker";

export interface WorkerPlan {
  readonly name: string;
  readonly setup: WorkerSetup;
  /** The proxy through which the worker, or only its listener, connects. */
  readonly proxy: TcpProxy | undefined;
}

/** A backend process of the server. */
export interface ServerProcess {
  readonly pid: number;
  readonly application: string;
}

/** Before Postgres 17 the notification queue always has room for 8 GB. */
export const canFillQueue = (): boolean => postgresMajor() >= 17;

/** The server, the addresses that lead to it, and administrative access. */
export class Site {
  readonly server: FaultServer;
  readonly schema = schema;
  readonly workers: readonly WorkerPlan[];
  readonly proxies: readonly TcpProxy[];

  private constructor(server: FaultServer, proxies: readonly [TcpProxy, TcpProxy]) {
    this.server = server;
    this.proxies = proxies;
    const [whole, listening] = proxies;
    const url = (name: string): string => withParameter(server.url, "application_name", `${workerName} ${name}`);
    const common = { schema, notify: "trigger", hasFeeds: false } as const;
    this.workers = [
      { name: "direct", proxy: undefined, setup: { ...common, url: url("direct"), hasFeeds: true } },
      { name: "proxied", proxy: whole, setup: { ...common, url: whole.route(url("proxied")), hasFeeds: true } },
      {
        name: "listener proxied",
        proxy: listening,
        setup: { ...common, url: url("listening"), listenUrl: listening.route(url("listening")) },
      },
      { name: "deferred", proxy: undefined, setup: { ...common, url: url("deferred"), notify: "deferred" } },
    ];
  }

  static async start(): Promise<Site> {
    const server = await FaultServer.start({
      fsync: "on",
      // Room for connections that faults leave behind for a while.
      max_connections: "200",
      // The smallest queue that Postgres allows, so that it can be filled.
      ...(canFillQueue() ? { max_notify_queue_pages: "64" } : {}),
    });
    try {
      const backend = await PostgresResultBackend.connect(server.url, { schema });
      await backend.migrate();
      await backend.close();
      return new Site(server, [await TcpProxy.start(server.url), await TcpProxy.start(server.url)]);
    } catch (error) {
      await server.remove();
      throw error;
    }
  }

  /** Runs `work` as a superuser on a connection of its own. Nothing takes longer than `timeoutMs`. */
  async administer<T>(work: (client: Client) => Promise<T>, timeoutMs = 5_000): Promise<T> {
    const client = new Client({
      connectionString: this.server.url,
      application_name: adminName,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
    });
    client.on("error", () => undefined);
    try {
      await client.connect();
      return await work(client);
    } finally {
      client.end().catch(() => undefined);
      // A killed server does not close its connections.
      setTimeout(() => destroySocket(client), 500).unref();
    }
  }

  /**
   * All connections except the administrator's, in a fixed order, so that choosing among them is as repeatable as
   * possible.
   */
  async connections(): Promise<ServerProcess[]> {
    return this.administer(async (client) => {
      const { rows } = await client.query<ServerProcess>(
        `select pid, application_name as application from pg_stat_activity
         where backend_type = 'client backend' and application_name <> $1 order by application_name, backend_start`,
        [adminName],
      );
      return rows;
    });
  }

  async listeners(): Promise<ServerProcess[]> {
    return (await this.connections()).filter(
      ({ application }) => isWorkers(application) && application.endsWith(" listener"),
    );
  }

  async poolConnections(): Promise<ServerProcess[]> {
    return (await this.connections()).filter(
      ({ application }) => isWorkers(application) && !application.endsWith(" listener"),
    );
  }

  /** Repeats a repair until it succeeds, even if the server goes down in the meantime. */
  async untilRepaired(repair: () => Promise<void>): Promise<void> {
    await eventually(repair, { timeoutMs: 20_000, intervalMs: 200 });
  }

  async remove(): Promise<void> {
    for (const proxy of this.proxies) await proxy.stop();
    await this.server.remove();
  }
}

const isWorkers = (application: string): boolean => application.startsWith(workerName);
