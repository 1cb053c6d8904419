import { Socket } from "node:net";
import { Pool, type PoolConfig } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { startEmbeddedPostgres } from "../../lib/embedded/index";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { certificate, TlsProxy } from "../support/tls-proxy";

const generous = { timeoutMs: 20_000 };

describe("a listener connects as its pool does", () => {
  const ends: (() => Promise<unknown>)[] = [];
  // Before that of the database, which fails where something is left connected.
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
  });
  const database = specDatabase("connecting");
  const at = new URL(database.url);
  const entries = {
    host: at.hostname,
    port: Number(at.port),
    user: at.username,
    database: at.pathname.slice(1),
    password: decodeURIComponent(at.password),
    application_name: at.searchParams.get("application_name") ?? "",
  };

  function open(pool: Pool | PoolConfig, options?: PostgresResultBackendOptions): PostgresResultBackend {
    const used = "connect" in pool ? pool : new Pool(pool);
    const backend = new PostgresResultBackend(used, { schema: database.schema, ...options });
    if (used !== pool) ends.push(async () => used.end());
    ends.push(async () => backend.close());
    return backend;
  }

  async function expectToHear(backend: PostgresResultBackend, taskId: string): Promise<void> {
    const waits = backend.wait(taskId, 60_000);
    await eventually(() => expect(backend.stats().status).toBe("listening"), generous);
    await eventually(() => expect(backend.stats().reads).toMatchObject({ inFlight: 0, queued: 0 }));
    await backend.store(taskId, taskId);
    expect(await waits).toBe(taskId);
    expect(backend.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  }

  it("with a function that makes its streams, which is told the same", async () => {
    const told: object[] = [];
    const stream = (...settings: unknown[]): Socket => {
      told.push(settings);
      return new Socket();
    };
    const backend = open({ ...entries, max: 1, keepAlive: true, stream });
    await expectToHear(backend, "stream");
    expect(told).toHaveLength(2);
    const ofPool = { stream, ssl: false, sslNegotiation: undefined, encoding: "utf8", keepAlive: true };
    const byDelay = told.map(
      (each) => (each as [{ keepAliveInitialDelayMillis: number }])[0].keepAliveInitialDelayMillis,
    );
    expect(byDelay.toSorted((one, other) => one - other)).toEqual([0, 10_000]);
    for (const [settings, ...more] of told as [object][]) {
      expect(settings).toEqual({ ...ofPool, keepAliveInitialDelayMillis: expect.any(Number) as number });
      expect(more).toEqual([]);
    }
  });

  it("with TLS over streams that a function makes; a silent one is destroyed", async () => {
    const proxy = await TlsProxy.start(database.url);
    ends.push(async () => proxy.stop());
    const sockets: Socket[] = [];
    const stream = (): Socket => {
      const socket = new Socket();
      sockets.push(socket);
      return socket;
    };
    const backend = open({ ...entries, host: "127.0.0.1", port: proxy.port, ssl: { ca: certificate }, max: 1, stream });
    await expectToHear(backend, "tls");
    expect(proxy.encrypted).toBe(2);
    proxy.isSilent = true;
    await backend.close();
    // The other one is the pool's.
    await eventually(() => expect(sockets.map(({ destroyed }) => destroyed).toSorted()).toEqual([false, true]));
    proxy.isSilent = false;
  });

  it("with a password that a function gives, which may fail for a while", async () => {
    let calls = 0;
    const password = (): Promise<string> => {
      calls += 1;
      return calls < 3 ? Promise.reject(new Error("no token yet")) : Promise.resolve(entries.password);
    };
    const backend = open(entries, { listen: { connection: { ...entries, password } } });
    await backend.ready();
    expect((await backend.health()).problems).toEqual([expect.stringContaining("no token yet")]);
    const waits = backend.wait("password", 60_000);
    await eventually(() => expect(backend.stats().status).toBe("listening"), generous);
    await backend.store("password", 1);
    expect(await waits).toBe(1);
    expect(calls).toBe(3);
  });

  it("with environment variables alone", async () => {
    const before = process.env;
    process.env = {
      ...before,
      ...{ PGHOST: entries.host, PGPORT: String(entries.port), PGUSER: entries.user, PGPASSWORD: entries.password },
      ...{ PGDATABASE: entries.database, PGAPPNAME: entries.application_name, PGOPTIONS: "-c statement_timeout=54321" },
    };
    try {
      await expectToHear(open({}), "environment");
    } finally {
      process.env = before;
    }
  });

  it("with an address that has parameters", async () => {
    const address = new URL(database.url);
    address.searchParams.set("options", "-c statement_timeout=54321");
    await expectToHear(open({ connectionString: address.href, host: "not used" }), "parameters");
  });

  it("with a stream instead of a function once: then it polls, and says what to do", async () => {
    const connection = { ...entries, stream: new Socket() } as unknown as PoolConfig;
    const backend = open(entries, { listen: { connection } });
    await expectToHear(backend, "own stream");
    const waits = backend.wait("after the loss", 60_000);
    await database.terminateListeners();
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "polling", reconnects: 1 }), generous);
    expect((await backend.health()).problems).toEqual([expect.stringContaining("function")]);
    await backend.store("after the loss", 1);
    expect(await waits).toBe(1);
  });

  it("but not where the pool does not say how: it polls, and says what to do", async () => {
    const pool = new Pool(entries);
    ends.push(async () => pool.end());
    const backend = open({ connect: pool.connect.bind(pool) } as unknown as Pool);
    await backend.ready();
    const waits = backend.wait("no options", 20_000);
    expect(backend.stats().status).toBe("polling");
    expect((await backend.health()).problems).toEqual([expect.stringContaining("listen: { connection }")]);
    await backend.store("no options", 1);
    expect(await waits).toBe(1);
    await expectToHear(
      open({ connect: pool.connect.bind(pool) } as unknown as Pool, { listen: { connection: entries } }),
      "no options, but an address",
    );
  });

  it("once for pools that are certain to lead to the same server, and once for each of the others", async () => {
    const password = (): string => entries.password;
    const stream = (): Socket => new Socket();
    const plain = new URL(database.url);
    plain.search = `?application_name=${encodeURIComponent(entries.application_name)}`;
    const pools: PoolConfig[] = [
      ...[entries, { ...entries, max: 2 }, { connectionString: plain.href }],
      ...[
        { ...entries, password },
        { ...entries, password },
      ],
      ...[
        { ...entries, stream },
        { ...entries, stream: () => stream() },
      ],
    ];
    const backends = pools.map((config) => open(config));
    await Promise.all(backends.map(async (backend) => backend.ready()));
    for (const backend of backends) expect(backend.stats().status).toBe("listening");
    expect(await database.listeners()).toHaveLength(4);
    await Promise.all(backends.map(async (backend) => backend.close()));
    await eventually(async () => expect(await database.listeners()).toEqual([]));
  });

  it("to the server of its own pool, where the streams alone tell two servers apart", async () => {
    const other = await startEmbeddedPostgres();
    ends.push(async () => other.stop());
    const config = (url: string): PoolConfig => {
      const { port, username: user, password } = new URL(url);
      const stream = (): Socket => {
        const socket = new Socket();
        const connect = socket.connect.bind(socket) as (port: number, host: string) => Socket;
        socket.connect = () => connect(Number(port), "127.0.0.1");
        return socket;
      };
      return { ...entries, user, password: () => decodeURIComponent(password), stream };
    };
    const [here, there] = [open(config(database.url)), open(config(other.url))];
    await there.migrate();
    for (const backend of [here, there]) await expectToHear(backend, "which server");
  });
});
