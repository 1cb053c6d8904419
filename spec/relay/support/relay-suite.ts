import { connect, type NatsConnection } from "@nats-io/transport-node";
import { escapeIdentifier, Pool } from "pg";
import type { PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import { nats, type NatsOptions } from "kojin-postgres/nats";
import { Relay } from "../../../lib/relay/relay";
import { eventually } from "../../support/eventually";
import { NatsServer } from "../../support/nats-server";
import { type SpecDatabase, specDatabase } from "../../support/spec-database";

/** What was published on NATS. */
export interface Heard {
  readonly subject: string;
  readonly payload: string;
}

export interface RelaySuite {
  readonly database: SpecDatabase;
  readonly nats: NatsServer;
  /** The table of results, quoted. */
  readonly results: string;
  /** A relay of the file's schema, closed after the spec. */
  relay(options?: NatsOptions, url?: string, notifierGraceMs?: number): Relay;
  /** A backend that has its notifications by NATS, and reads by itself once in ten minutes. */
  waiting(options?: PostgresResultBackendOptions): Promise<PostgresResultBackend>;
  /** Collects everything published from now on to the shards, without the copies for subscribers of everything. */
  listen(): Promise<Heard[]>;
}

const farOff = 600_000;

/** A database, a NATS server, and relays between them. After each spec neither may have a connection left. */
export function relaySuite(name: string): RelaySuite {
  const relays: Relay[] = [];
  const pools: Pool[] = [];
  const observers: NatsConnection[] = [];
  let server: NatsServer | undefined;

  // Before the hooks of the database, which look for what is left.
  afterEach(async () => {
    await Promise.all(relays.splice(0).map(async (relay) => relay.close()));
    await Promise.all(pools.splice(0).map(async (pool) => pool.end()));
    await Promise.all(observers.splice(0).map(async (observer) => observer.close()));
  });
  const database = specDatabase(name);
  afterEach(async () => {
    await eventually(async () => expect(await suite.nats.connections()).toEqual([]));
  });
  beforeAll(async () => {
    server = await NatsServer.start();
  });
  afterAll(async () => {
    await server?.stop();
  });

  const suite: RelaySuite = {
    database,
    get nats() {
      if (server === undefined) throw new Error("The server is there from beforeAll on.");
      return server;
    },
    results: `${escapeIdentifier(database.schema)}.kojin_results`,
    relay: (options, url = database.url, notifierGraceMs) => {
      const pool = new Pool({ connectionString: url });
      pool.on("error", () => undefined);
      pools.push(pool);
      const notifier = nats({ servers: suite.nats.url, ...options });
      const relay = new Relay(pool, { notifier, schema: database.schema }, notifierGraceMs);
      relays.push(relay);
      return relay;
    },
    waiting: async (options) => {
      const notifier = nats({ servers: suite.nats.url });
      const backend = await database.open({ notifier, sweepIntervalMs: farOff, ...options }, database.url);
      await backend.ready();
      return backend;
    },
    listen: async () => {
      const observer = await connect({ servers: suite.nats.url });
      observers.push(observer);
      const heard: Heard[] = [];
      observer.subscribe(">", {
        callback: (error, message) => {
          if (error === null && !message.subject.endsWith(".all"))
            heard.push({ subject: message.subject, payload: message.string() });
        },
      });
      await observer.flush();
      return heard;
    },
  };
  return suite;
}

/** Resolves once it leads, and hears. */
export async function untilLeading(relay: Relay, timeoutMs = 10_000): Promise<void> {
  await eventually(() => expect(relay.report).toMatchObject({ ok: true, role: "leader" }), { timeoutMs });
}

/** Resolves once it stands by, and could take over. */
export async function untilStandby(relay: Relay, timeoutMs = 10_000): Promise<void> {
  await eventually(() => expect(relay.report).toMatchObject({ ok: true, role: "standby" }), { timeoutMs });
}

/** A wait that is open: read once, and notifications of it would be heard. */
export async function openWait<T>(waiting: PostgresResultBackend, taskId: string): Promise<{ result: Promise<T> }> {
  const { statements } = waiting.stats().reads;
  const result = waiting.wait<T>(taskId, 60_000);
  result.catch(() => undefined);
  await eventually(() => {
    expect(waiting.stats().reads.statements).toBeGreaterThan(statements);
    expect(waiting.stats().reads.inFlight).toBe(0);
  });
  return { result };
}
