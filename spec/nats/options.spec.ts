import { MissingPackageError, PostgresResultBackend } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { Pool } from "pg";
import { loadClient } from "../../lib/nats/nats-connection";
import { addressOf, resolveNatsOptions } from "../../lib/nats/options";

describe("options of nats()", () => {
  it("have defaults, and hand the client's own on", () => {
    expect(resolveNatsOptions()).toEqual({
      prefix: "kojin",
      shards: 256,
      pingIntervalMs: 10_000,
      timeoutMs: 5_000,
      servers: ["127.0.0.1:4222"],
      client: { name: "kojin-postgres", noAsyncTraces: true },
    });
    expect(resolveNatsOptions({ servers: "a:1", token: "t", tls: {}, name: "mine" })).toMatchObject({
      servers: ["a:1"],
      client: { token: "t", tls: {}, name: "mine" },
    });
    expect(resolveNatsOptions({ port: 4_333 }).servers).toEqual(["127.0.0.1:4333"]);
  });

  it.each<[object, typeof TypeError | typeof RangeError, string]>([
    [{ prefix: 1 }, TypeError, "prefix: expected a string, got number."],
    [{ prefix: "" }, RangeError, "prefix: expected tokens"],
    [{ prefix: "a..b" }, RangeError, "prefix: expected tokens"],
    [{ prefix: "a.*" }, RangeError, "prefix: expected tokens"],
    [{ prefix: "a b" }, RangeError, "prefix: expected tokens"],
    [{ prefix: "a\u0000" }, RangeError, "prefix: expected tokens"],
    [{ shards: 0 }, RangeError, "shards: expected a whole number from 1 to 4096, got 0."],
    [{ shards: 4_097 }, RangeError, "shards: expected a whole number from 1 to 4096, got 4097."],
    [{ shards: "8" }, TypeError, "shards: expected a number, got string."],
    [{ pingIntervalMs: 1 }, RangeError, "pingIntervalMs: expected a whole number from 100"],
    [{ timeoutMs: 0 }, RangeError, "timeoutMs: expected a whole number from 100"],
    [{ pingInterval: 1_000 }, TypeError, "pingInterval: expected pingIntervalMs, in milliseconds."],
    [{ timeout: 1_000 }, TypeError, "timeout: expected timeoutMs, in milliseconds."],
    [{ servers: [] }, RangeError, "servers: expected at least one address, got none."],
    [{ servers: [5] }, TypeError, "servers: expected addresses, got number."],
    [{ servers: "nats://secret@" }, TypeError, "servers: expected an address such as nats://host:4222."],
    [{ servers: "ws://host" }, TypeError, "servers: expected nats:// or tls://, got an address for WebSockets."],
    [{ servers: "a", port: 1 }, TypeError, "port: expected either servers or port, got both."],
  ])("are refused where they do not fit: %j", (options, kind, message) => {
    const given = (): unknown => nats(options);
    expect(given).toThrow(kind);
    expect(given).toThrow(message);
  });

  it("take addresses with and without scheme and port, of any family", () => {
    expect(
      ["host", "host:1", "nats://host:2", "tls://host", "[::1]:3", "nats://user:pass@host:4"].map(addressOf),
    ).toEqual([
      { host: "host", port: 4_222 },
      { host: "host", port: 1 },
      { host: "host", port: 2 },
      { host: "host", port: 4_222 },
      { host: "::1", port: 3 },
      { host: "host", port: 4 },
    ]);
  });

  it("say what to install where the client is absent", () => {
    expect(() => loadClient(["/"])).toThrow(MissingPackageError);
    expect(() => loadClient([])).toThrow("npm install @nats-io/transport-node");
  });
});

describe("the option notify beside notifications", () => {
  const pool = new Pool({ connectionString: "postgres://nowhere:1/" });
  afterAll(async () => pool.end());

  it("may be off only where something else tells", () => {
    expect(() => new PostgresResultBackend(pool, { notify: "off" })).toThrow(RangeError);
    expect(() => new PostgresResultBackend(pool, { notify: "off", notifier: nats() })).not.toThrow();
  });

  it("refuses what carries nothing", () => {
    const notifier = {} as unknown as ReturnType<typeof nats>;
    expect(() => new PostgresResultBackend(pool, { notifier })).toThrow(
      "notifier.open: expected a function, got undefined.",
    );
  });
});
