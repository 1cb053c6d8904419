import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PostgresResultBackend } from "kojin-postgres";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { Crew } from "./crew";
import { runSql } from "./sql";
import { type Persistence, RedisServer } from "./redis-server";
import { bareSchema } from "./techniques/bare";
import { pollingSchema } from "./techniques/polling";

// For 32 storing processes with pools of their own, and 50 that listen.
const settings = { max_connections: "400" };

/** The servers that are measured, and how much of it. */
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

  /** The processes that store and wait. */
  get crew(): Crew {
    return (this.#crew ??= new Crew(this));
  }

  /** The next row gets new ones. */
  dismissCrew(): void {
    this.#crew?.[Symbol.dispose]();
    this.#crew = undefined;
  }

  get rounds(): number {
    return this.isQuick ? 2 : 5;
  }

  /** A number of things to measure: the first, or if time is short the second. */
  readonly size = (full: number, quick: number): number => (this.isQuick ? quick : full);

  /** Process id of the Postgres server. */
  get postmaster(): number {
    return Number.parseInt(readFileSync(join(this.#postgres.dataDir, "postmaster.pid"), "utf8"));
  }

  /** @throws NotMeasured There is no redis-server here. */
  async redis(persistence: Persistence): Promise<RedisServer> {
    const server = this.#redisServers.get(persistence) ?? RedisServer.start(persistence);
    this.#redisServers.set(persistence, server);
    return server;
  }

  /** Runs statements by a connection of their own; gives the rows of the last. */
  async sql<Row>(text: string): Promise<Row[]> {
    return runSql<Row>(this.url, text);
  }

  /** Empties the tables, so that no round finds them larger than the one before. */
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
