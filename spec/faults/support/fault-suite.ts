import { Client } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../../support/eventually";
import { natsOfSpecs, variant } from "../../support/variant";
import { FaultServer } from "./fault-server";

/** What the specs of one file break, and what they look at it with. */
export interface FaultSuite {
  readonly server: FaultServer;
  /** What backends told their logger, in order. */
  readonly messages: string[];
  /** A backend on the server, or by another way to it; closed after the file's specs. */
  open(options?: PostgresResultBackendOptions, url?: string): Promise<PostgresResultBackend>;
  /** Somebody else's connection to the server; ended after the file's specs. */
  connect(): Promise<Client>;
}

/** These specs bring their own ways to the server, so of the variants only how results are announced is theirs. */
const notifyMode = (): PostgresResultBackendOptions => {
  if (variant === "nats") return { notifier: natsOfSpecs() };
  return variant === "deferred" ? { notify: "deferred" } : {};
};

/** A number of rows that went without their notification: 0 where none of them was to have one. */
export const whenLoud = (rows: number): number => (variant === "deferred" || variant === "nats" ? 0 : rows);

/** A migrated server for the specs of one file. Once they are through, and every backend is closed, nothing may be left connected to it. */
export function faultSuite(settings: Readonly<Record<string, string>> = {}): FaultSuite {
  let server: FaultServer | undefined;
  const opened: PostgresResultBackend[] = [];
  const clients: Client[] = [];
  const messages: string[] = [];
  const note = (message: string): void => void messages.push(message);

  const suite: FaultSuite = {
    get server() {
      if (server === undefined) throw new Error("The server is there from beforeAll on.");
      return server;
    },
    messages,
    open: async (options, url = suite.server.url) => {
      const logger = { info: note, warn: note, error: note };
      const backend = await PostgresResultBackend.connect(url, { logger, ...notifyMode(), ...options });
      opened.push(backend);
      return backend;
    },
    connect: async () => {
      const client = new Client({ connectionString: suite.server.url, application_name: "spec admin" });
      client.on("error", () => undefined);
      clients.push(client);
      await client.connect();
      return client;
    },
  };
  beforeAll(async () => {
    server = await FaultServer.start(settings);
    const backend = await PostgresResultBackend.connect(server.url);
    await backend.migrate();
    await backend.close();
  });
  afterAll(async () => {
    await Promise.all([
      ...opened.map(async (backend) => backend.close()),
      ...clients.map(async (client) => client.end().catch(() => undefined)),
    ]);
    try {
      await eventually(async () => expect(await server?.clients()).toEqual([]), { timeoutMs: 10_000 });
    } finally {
      await server?.remove();
    }
  });
  return suite;
}
