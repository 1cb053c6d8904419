import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PostgresResultBackend } from "kojin-postgres";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { Crew } from "./crew";
import { runSql } from "./sql";
import { type Persistence, RedisServer } from "./redis-server";
import { bareSchema } from "./techniques/bare";
import { pollingSchema } from "./techniques/polling";

// For 32 storing processes with pools of their own, and 50 listeners.
const settings = { max_connections: "400" };

/** Owns the measured servers and the worker processes, and scales the load. */
export class Bench implements AsyncDisposable {
  readonly isQuick: boolean;
  readonly #postgres: EmbeddedPostgres;
  #crew: Crew | undefined;
  readonly #redisServers = new Map<Persistence, Promise<RedisServer>>();

  private constructor(isQuick: boolean, postgres: EmbeddedPostgres) {
    this.isQuick = isQuick;
    this.#postgres = postgres;
  }

  static async start(isQuick: boolean): Promise<Bench> {
    const bench = new Bench(isQuick, await startEmbeddedPostgres({ settings }));
    try {
      const backend = await PostgresResultBackend.connect(bench.url);
      await backend.migrate();
      await backend.close();
      await bench.sql(bareSchema);
      await bench.sql(pollingSchema);
      return bench;
    } catch (error) {
      await bench[Symbol.asyncDispose]();
      throw error;
    }
  }

  get url(): string {
    return this.#postgres.url;
  }

  /** The processes that store and wait, started on first use. */
  get crew(): Crew {
    return (this.#crew ??= new Crew(this));
  }

  /** Ends the processes. The next row starts new ones. */
  dismissCrew(): void {
    this.#crew?.[Symbol.dispose]();
    this.#crew = undefined;
  }

  get rounds(): number {
    return this.isQuick ? 2 : 5;
  }

  /** Chooses between the load of a full run and that of a quick one. */
  readonly size = (full: number, quick: number): number => (this.isQuick ? quick : full);

  /** Process id of the Postgres server. */
  get postmaster(): number {
    return Number.parseInt(readFileSync(join(this.#postgres.dataDir, "postmaster.pid"), "utf8"));
  }

  /** @throws NotMeasured No redis-server is installed. */
  async redis(persistence: Persistence): Promise<RedisServer> {
    const server = this.#redisServers.get(persistence) ?? RedisServer.start(persistence);
    this.#redisServers.set(persistence, server);
    return server;
  }

  /** Runs statements on a connection of their own and returns the rows of the last. */
  async sql<Row>(text: string): Promise<Row[]> {
    return runSql<Row>(this.url, text);
  }

  /** Empties the tables, so that each round finds them equally small. */
  async empty(): Promise<void> {
    await this.sql("truncate kojin_results, kojin_groups, kojin_group_state, bench_bare, bench_polled");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dismissCrew();
    const redisServers = await Promise.allSettled(this.#redisServers.values());
    for (const started of redisServers) if (started.status === "fulfilled") await started.value.stop();
    await this.#postgres.stop("immediate");
  }
}
