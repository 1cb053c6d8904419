import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { PostgresResultBackend } from "kojin-postgres";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "kojin-postgres/embedded";
import { Client } from "pg";
import { now } from "./clock";
import { median } from "./sample";

const tables = ["kojin_results", "kojin_groups", "kojin_group_state", "kojin_streams", "kojin_chunks"];

/** A Postgres server of the bench, with the library's tables. */
export class PostgresServer implements AsyncDisposable {
  readonly #server: EmbeddedPostgres;

  private constructor(server: EmbeddedPostgres) {
    this.#server = server;
  }

  static async start(maxConnections: number): Promise<PostgresServer> {
    const settings = { max_connections: String(maxConnections) };
    const server = new PostgresServer(await startEmbeddedPostgres({ settings }));
    try {
      const backend = await PostgresResultBackend.connect(server.url);
      await backend.migrate();
      await backend.close();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get url(): string {
    return this.#server.url;
  }

  get processId(): number {
    return Number.parseInt(readFileSync(join(this.#server.dataDir, "postmaster.pid"), "utf8"));
  }

  /** Runs statements on a connection of their own and returns the rows of the last. */
  async sql<Row>(text: string): Promise<Row[]> {
    const client = new Client({ connectionString: this.url });
    await client.connect();
    try {
      return (await client.query(text)).rows as Row[];
    } finally {
      await client.end();
    }
  }

  async version(): Promise<string> {
    const [row] = await this.sql<{ server_version: string }>("show server_version");
    return row?.server_version ?? "";
  }

  /** Empties the library's tables and others, so that each round finds them equally small. */
  async empty(...others: readonly string[]): Promise<void> {
    await this.sql(`truncate ${[...tables, ...others].join(", ")}`);
  }

  /** Median milliseconds that a commit waits for this server's disk: one fdatasync of an overwritten page. */
  fdatasyncMs(): number {
    const path = join(this.#server.dataDir, "bench-fdatasync");
    const page = Buffer.alloc(8_192, 1);
    const file = openSync(path, "w");
    try {
      return median(
        Array.from({ length: 200 }, () => {
          writeSync(file, page, 0, page.length, 0);
          const startedAt = now();
          fdatasyncSync(file);
          return now() - startedAt;
        }),
      );
    } finally {
      closeSync(file);
      rmSync(path);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop("immediate");
  }
}
