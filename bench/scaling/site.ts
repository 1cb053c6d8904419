import { PostgresResultBackend } from "kojin-postgres";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { NatsServer } from "../nats-server";
import { runSql } from "../sql";

/** The `application_name` of waiting processes. */
const applicationName = "waiting";

/** A Postgres server and a NATS server for waiting processes. */
export class Site implements AsyncDisposable {
  readonly #postgres: EmbeddedPostgres;
  readonly #nats: NatsServer;

  private constructor(postgres: EmbeddedPostgres, nats: NatsServer) {
    this.#postgres = postgres;
    this.#nats = nats;
  }

  /** @throws {@link NotMeasured} No nats-server is installed. */
  static async start(waitingProcesses: number): Promise<Site> {
    const nats = await NatsServer.start();
    // Each waiting process may have a connection that listens and one that reads. The rest is for the storing process.
    const settings = { max_connections: String(2 * waitingProcesses + 100) };
    const site = new Site(await startEmbeddedPostgres({ settings }), nats);
    const backend = await PostgresResultBackend.connect(site.url);
    await backend.migrate();
    await backend.close();
    return site;
  }

  get url(): string {
    return this.#postgres.url;
  }

  /**
   * The address for waiting processes. Each has one connection to read with, since 200 processes with ten would be
   * another test.
   */
  get waitingUrl(): string {
    const url = new URL(this.url);
    url.searchParams.set("application_name", applicationName);
    url.searchParams.set("max", "1");
    return url.href;
  }

  get natsServers(): string {
    return this.#nats.url;
  }

  /** Number of open Postgres connections of waiting processes and of the relay. */
  async connections(): Promise<number> {
    const [row] = await runSql<{ count: string }>(
      this.url,
      `select count(*) from pg_stat_activity where application_name like '${applicationName}%'`,
    );
    return Number(row?.count);
  }

  /** Empties the tables, so that each round finds them equally small. */
  async empty(): Promise<void> {
    await runSql(this.url, "truncate kojin_results, kojin_groups, kojin_group_state");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#nats.stop();
    await this.#postgres.stop("immediate");
  }
}
