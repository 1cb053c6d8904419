import { Client } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../../support/eventually";
import { natsOfSpecs, variant } from "../../support/variant";
import { FaultServer } from "./fault-server";

/** The server of one spec file, and the means to break and observe it. */
export interface FaultSuite {
  readonly server: FaultServer;
  /** Messages to the backends' logger, in order. */
  readonly messages: string[];
  /** Opens a backend on the server, which is closed after the file's specs. */
  open(options?: PostgresResultBackendOptions, url?: string): Promise<PostgresResultBackend>;
  /** Opens a connection of another application, which is ended after the file's specs. */
  connect(): Promise<Client>;
}

/** These specs choose their own paths to the server, so variants only change how results are announced. */
const notifyMode = (): PostgresResultBackendOptions => {
  if (variant === "nats") return { notifier: natsOfSpecs() };
  return variant === "deferred" ? { notify: "deferred" } : {};
};

/** Number of rows stored without notification, or 0 in variants whose statements never notify. */
export const whenNotifying = (rows: number): number => (variant === "deferred" || variant === "nats" ? 0 : rows);

/**
 * Starts a migrated server for the specs of one file. At the end, with every backend closed, no connection may be left.
 */
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
