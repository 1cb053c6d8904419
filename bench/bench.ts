import { type Persistence, startRedis, type TemporaryServer } from "../tools/servers";
import { Crew } from "./crew";
import { PostgresServer } from "./postgres-server";
import { NotMeasured } from "./sample";
import { bareSchema, pollingSchema } from "./techniques/plain-postgres";

/** For 32 storing processes with pools of their own, and 50 listeners. */
const maxConnections = 400;

/** Owns the measured servers and the worker processes, and scales the load. */
export class Bench implements AsyncDisposable {
  readonly isQuick: boolean;
  readonly postgres: PostgresServer;
  #crew: Crew | undefined;
  readonly #redisServers = new Map<Persistence, Promise<TemporaryServer | undefined>>();

  private constructor(isQuick: boolean, postgres: PostgresServer) {
    this.isQuick = isQuick;
    this.postgres = postgres;
  }

  static async start(isQuick: boolean): Promise<Bench> {
    const postgres = await PostgresServer.start(maxConnections);
    await postgres.sql(bareSchema);
    await postgres.sql(pollingSchema);
    return new Bench(isQuick, postgres);
  }

  get url(): string {
    return this.postgres.url;
  }

  /** The processes that store and wait, started on first use. */
  get crew(): Crew {
    return (this.#crew ??= new Crew(this));
  }

  /** Starts processes that have run nothing yet, for the caller to end. */
  newCrew(): Crew {
    return new Crew(this);
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

  /** @throws {@link NotMeasured} No redis-server is installed. */
  async redis(persistence: Persistence): Promise<TemporaryServer> {
    const starting = this.#redisServers.get(persistence) ?? startRedis(persistence);
    this.#redisServers.set(persistence, starting);
    const server = await starting;
    if (server === undefined) throw new NotMeasured("redis-server is not installed");
    return server;
  }

  /** Empties the tables of the library and of the references. */
  async empty(): Promise<void> {
    await this.postgres.empty("bench_bare", "bench_read", "bench_polled");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dismissCrew();
    const redisServers = await Promise.allSettled(this.#redisServers.values());
    for (const started of redisServers)
      if (started.status === "fulfilled") await started.value?.[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}
