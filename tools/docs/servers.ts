import { Client } from "pg";
import { type EmbeddedPostgres, startEmbeddedPostgres } from "../../lib/embedded";
import { pickFreePort } from "../../lib/embedded/server";
import { PostgresResultBackend } from "../../lib/index";
import { startNats, startRedis, type TemporaryServer } from "../servers";

/** Tables of the applications and queues in the pages. */
const tables = `
create table orders (id text primary key, amount int, state text);
create table reports (id text primary key, state text, result jsonb, error text);
create table callbacks (group_id text primary key);
create table jobs (id int primary key, state text, attempts int, max_attempts int, output jsonb, last_error text);
create schema app;
create table app.jobs (like jobs including all);
create table river_job (id int primary key, state text, metadata jsonb, errors jsonb[]);
create table oban_jobs (id int primary key, state text, errors jsonb[]);
create table procrastinate_jobs (id int primary key, status text);
`;

/** Ports that pages name. Each block, or the shell of a page, gets a free one instead of them. */
const ports = /\b(?:3000|8080|9000|9464)\b/g;

/** A database of its own, and the addresses to write into a block instead of those that readers replace. */
export interface Place {
  readonly url: string;
  readonly port: number;
  /** Returns `text` with the addresses of this place. */
  readonly adapt: (text: string) => string;
}

/** Servers for the blocks of all pages. */
export class Servers {
  readonly #postgres: EmbeddedPostgres;
  readonly #admin: Client;
  readonly #nats: TemporaryServer | undefined;
  readonly #redis: TemporaryServer | undefined;
  #databases = 0;

  private constructor(postgres: EmbeddedPostgres, admin: Client, nats?: TemporaryServer, redis?: TemporaryServer) {
    this.#postgres = postgres;
    this.#admin = admin;
    this.#nats = nats;
    this.#redis = redis;
  }

  static async start(): Promise<Servers> {
    const settings = { max_connections: "300", fsync: "off" };
    const [postgres, nats, redis] = await Promise.all([
      startEmbeddedPostgres({ settings }),
      startNats(),
      startRedis("none"),
    ]);
    const admin = new Client(postgres.url);
    await admin.connect();
    await admin.query("create database template_of_docs");
    const url = withDatabase(postgres.url, "template_of_docs");
    const backend = await PostgresResultBackend.connect(url, { listen: false });
    await backend.migrate();
    await backend.close();
    const client = new Client(url);
    await client.connect();
    await client.query(tables);
    await client.end();
    return new Servers(postgres, admin, nats, redis);
  }

  /** Creates a migrated database. */
  async newPlace(): Promise<Place> {
    this.#databases += 1;
    const name = `docs_${this.#databases}`;
    await this.#admin.query(`create database ${name} template template_of_docs`);
    const url = withDatabase(this.#postgres.url, name);
    const port = await pickFreePort();
    const adapt = (text: string): string =>
      text
        .replace(/postgres(?:ql)?:\/\/[^\s"'`]+/g, url)
        .replace(/nats:\/\/[^\s"'`,]+/g, `nats://127.0.0.1:${this.#nats?.port ?? 0}`)
        .replace(/\b6379\b/g, String(this.#redis?.port ?? 0))
        .replace(ports, String(port));
    return { url, port, adapt };
  }

  /** Says which server `text` needs that is not installed here; undefined if there is none. */
  missingFor(text: string): string | undefined {
    if (this.#nats === undefined && text.includes("nats://")) return "nats-server is not installed";
    if (this.#redis === undefined && text.includes("6379")) return "redis-server is not installed";
    return undefined;
  }

  async stop(): Promise<void> {
    await this.#admin.end();
    await Promise.all([
      this.#postgres.stop("immediate"),
      this.#nats?.[Symbol.asyncDispose](),
      this.#redis?.[Symbol.asyncDispose](),
    ]);
  }
}

function withDatabase(address: string, name: string): string {
  const url = new URL(address);
  url.pathname = `/${name}`;
  return url.href;
}
