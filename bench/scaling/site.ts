import { PostgresResultBackend } from "kojin-postgres";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { NatsServer } from "../nats-server";
import { runSql } from "../sql";

/** By this name the connections of waiting processes are known to the server. */
const applicationName = "waiting";

/** A Postgres and a NATS server for processes that wait. */
export class Site implements AsyncDisposable {
  readonly #postgres: EmbeddedPostgres;
  readonly #nats: NatsServer;

  private constructor(postgres: EmbeddedPostgres, nats: NatsServer) {
    this.#postgres = postgres;
    this.#nats = nats;
  }

  /** @throws {@link NotMeasured} There is no nats-server. */
  static async start(waitingProcesses: number): Promise<Site> {
    const nats = await NatsServer.start();
    // Each may have a connection that listens and one that reads; and then there are those that store.
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

  /** For processes that wait: with one connection each to read by, since 200 processes with ten would be another test. */
  get waitingUrl(): string {
    const url = new URL(this.url);
    url.searchParams.set("application_name", applicationName);
    url.searchParams.set("max", "1");
    return url.href;
  }

  get natsServers(): string {
    return this.#nats.url;
  }

  /** Connections to Postgres that waiting processes, and what hands notifications on to them, have open. */
  async connections(): Promise<number> {
    const [row] = await runSql<{ count: string }>(
      this.url,
      `select count(*) from pg_stat_activity where application_name like '${applicationName}%'`,
    );
    return Number(row?.count);
  }

  /** Empties the tables, so that no round finds them larger than the one before. */
  async empty(): Promise<void> {
    await runSql(this.url, "truncate kojin_results, kojin_groups, kojin_group_state");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#nats.stop();
    await this.#postgres.stop("immediate");
  }
}
