import { createSecretKey } from "node:crypto";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Pool, type PoolConfig } from "pg";
import { parse } from "pg-connection-string";
import { areSameValues, SessionConfig } from "../../lib/database/session-config";
import { certificate } from "../support/tls-proxy";

const ofPool = (options: PoolConfig): SessionConfig => new SessionConfig(new Pool(options), undefined, "listener");
const areSame = (one: PoolConfig, other: PoolConfig): boolean =>
  areSameValues(ofPool(one).identity(), ofPool(other).identity());

/** What the driver would do with a configuration. */
const parameters = (config: object): unknown =>
  (new Client(config) as unknown as { connectionParameters: unknown }).connectionParameters;

const environment = { ...process.env };
afterEach(() => (process.env = { ...environment }));

describe("the configuration of a session outside the pool", () => {
  const address = "postgres://user:p%40ss@server:6432/app";

  it.each<[string, PoolConfig]>([
    ["an address", { connectionString: address }],
    ["an address with parameters", { connectionString: `${address}?options=-c%20search_path%3Da&ssl=true` }],
    ["an address that wins over what is beside it", { connectionString: address, host: "other", password: "other" }],
    ["an address of a socket", { connectionString: "socket:/tmp?db=app", user: "user", password: "p" }],
    ["an address without a host", { connectionString: "postgres:///app", host: "given", user: "user" }],
    ["entries", { host: "server", port: 1, user: "user", password: "p", database: "app", ssl: { ca: certificate } }],
    ["nothing but the environment", {}],
  ])("leads where the driver would go with %s", (_what, options) => {
    Object.assign(process.env, {
      PGHOST: "env-host",
      PGPORT: "7",
      PGUSER: "env",
      PGPASSWORD: "env",
      PGDATABASE: "env",
    });
    const [resolved, name] = [ofPool(options).resolve(), { application_name: "any" }];
    const given = { ...options, ...parse(options.connectionString ?? ""), connectionString: undefined };
    expect(parameters({ ...resolved, ...name })).toEqual(
      parameters({ ...(options.connectionString === undefined ? options : given), ...name }),
    );
  });

  it("is named after its pool, its address or PGAPPNAME, and its role", () => {
    process.env["PGAPPNAME"] = "from the environment";
    expect(ofPool({}).resolve().application_name).toBe("from the environment listener");
    expect(ofPool({ application_name: "x".repeat(63) }).resolve().application_name).toHaveLength(63);
    const relay = new SessionConfig(new Pool(), "postgres://server/app?application_name=own", "relay");
    expect(relay.resolve().application_name).toBe("own relay");
  });

  it("keeps PGOPTIONS, which its own options would hide", () => {
    process.env["PGOPTIONS"] = "-c search_path=a";
    expect(ofPool({}).resolve().options).toBe("-c search_path=a");
  });

  it("is read anew for each attempt: a file of certificates may come later, or change", async () => {
    const folder = await mkdtemp(join(tmpdir(), "certificates-"));
    const file = join(folder, "ca.crt");
    const config = ofPool({ connectionString: `${address}?sslmode=verify-full&sslrootcert=${file}` });
    expect(() => config.resolve()).toThrow("ENOENT");
    for (const content of ["first", "second"]) {
      writeFileSync(file, content);
      expect(config.resolve().ssl).toMatchObject({ ca: content });
    }
    await rm(folder, { recursive: true });
  });

  it.each<[string, unknown]>([
    ["has no options", { connect: () => undefined }],
    ["has one stream for its only connection", new Pool({ stream: process.stdin as never })],
  ])("is unknown where a pool %s", (_what, pool) => {
    const config = new SessionConfig(pool as Pool, undefined, "listener");
    expect(() => config.resolve()).toThrow("listen: { connection }");
    expect(config.identity()).toBeUndefined();
  });
});

describe("two pools", () => {
  const one = { host: "server", user: "user", password: "secret", database: "app" };
  const check = (): undefined => undefined;

  it.each<[string, PoolConfig, PoolConfig]>([
    ["the same options", one, { ...one }],
    ["sizes and timeouts of their own", { ...one, max: 1, query_timeout: 5 }, { ...one, connectionTimeoutMillis: 1 }],
    ["an address and its entries", one, { connectionString: "postgres://user:secret@server/app" }],
    ["equal certificates", { ...one, ssl: { ca: Buffer.from("a") } }, { ...one, ssl: { ca: Buffer.from("a") } }],
    [
      "the same function",
      { ...one, ssl: { checkServerIdentity: check } },
      { ...one, ssl: { checkServerIdentity: check } },
    ],
    [
      "an address whose parameters make functions",
      { connectionString: "postgres://server/app?sslmode=no-verify&uselibpqcompat=true" },
      { connectionString: "postgres://server/app?sslmode=no-verify&uselibpqcompat=true" },
    ],
  ])("are the same with %s", (_what, first, second) => {
    expect(areSame(first, second)).toBe(true);
  });

  const factory = (): (() => never) => () => {
    throw new Error("not to be called");
  };
  it.each<[string, PoolConfig, PoolConfig]>([
    ["host", one, { ...one, host: "other" }],
    ["password", one, { ...one, password: "other" }],
    ["password functions", { ...one, password: () => "a" }, { ...one, password: () => "a" }],
    ["stream functions", { ...one, stream: factory() }, { ...one, stream: factory() }],
    ["TLS", one, { ...one, ssl: true }],
    ["certificates", { ...one, ssl: { ca: "a" } }, { ...one, ssl: { ca: "b" } }],
    ["private keys", { ...one, ssl: { key: "a" } }, { ...one, ssl: { key: "b" } }],
    [
      "TLS functions",
      { ...one, ssl: { checkServerIdentity: () => undefined } },
      { ...one, ssl: { checkServerIdentity: () => undefined } },
    ],
    [
      "TLS functions beside an address",
      { connectionString: "postgres://server/app", ssl: { checkServerIdentity: () => undefined } },
      { connectionString: "postgres://server/app", ssl: { checkServerIdentity: () => undefined } },
    ],
    ["options", { ...one, options: "-c a.b=1" }, { ...one, options: "-c a.b=2" }],
    [
      "something that is not known",
      { ...one, lookup: () => 1 } as PoolConfig,
      { ...one, lookup: () => 1 } as PoolConfig,
    ],
  ])("are not when they differ in their %s", (_what, first, second) => {
    expect(areSame(first, second)).toBe(false);
  });

  it("are not when the environment has changed between them", () => {
    process.env["PGPORT"] = "1";
    const first = ofPool({}).identity();
    process.env["PGPORT"] = "2";
    expect(areSameValues(first, ofPool({}).identity())).toBe(false);
  });
});

const password = (): string => "secret";
const secret = createSecretKey(Buffer.from("secret"));
const hidden = (key: string): object => Object.defineProperty({}, "key", { value: key, enumerable: false });

describe("two configurations", () => {
  it.each<[string, unknown, unknown]>([
    ["equal values", { port: 5432, ssl: true, host: "a" }, { host: "a", ssl: true, port: 5432 }],
    ["an absent entry and an undefined one", { port: 1, ssl: undefined }, { port: 1 }],
    ["nested objects and arrays", { ssl: { ca: ["a", "b"] } }, { ssl: { ca: ["a", "b"] } }],
    ["equal bytes", { ca: Buffer.from("a") }, { ca: Buffer.from("a") }],
    ["the same function", { password }, { password }],
    ["the same instance of a class", { key: secret }, { key: secret }],
    ["the same hidden entry", hidden("a"), hidden("a")],
    [
      "objects without a prototype",
      Object.assign(Object.create(null), { a: 1 }),
      Object.assign(Object.create(null), { a: 1 }),
    ],
  ])("are the same with %s", (_what, one, other) => {
    expect([areSameValues(one, other), areSameValues(other, one)]).toEqual([true, true]);
  });

  const cyclic = (): object => {
    const value: Record<string, unknown> = {};
    value["self"] = value;
    return value;
  };
  it.each<[string, unknown, unknown]>([
    ["different values", { port: 1 }, { port: 2 }],
    ["a number and its text", { port: 1 }, { port: "1" }],
    ["an entry more", { port: 1 }, { port: 1, ssl: true }],
    ["functions of the same text", { password: () => "a" }, { password: () => "a" }],
    ["instances of a class", { key: secret }, { key: createSecretKey(Buffer.from("secret")) }],
    ["different bytes", { ca: Buffer.from("a") }, { ca: Buffer.from("b") }],
    ["bytes and their text", { ca: Buffer.from("a") }, { ca: "a" }],
    ["arrays of different order", ["a", "b"], ["b", "a"]],
    ["an array and a longer one", ["a"], ["a", undefined]],
    ["different hidden entries", hidden("a"), hidden("b")],
    [
      "getters",
      {
        get a() {
          return 1;
        },
      },
      {
        get a() {
          return 1;
        },
      },
    ],
    [
      "a getter and its value",
      {
        get a() {
          return 1;
        },
      },
      { a: 1 },
    ],
    ["dates", new Date(0), new Date(0)],
    ["maps", new Map(), new Map()],
    ["values that contain themselves", cyclic(), cyclic()],
    ["nothing and an empty object", null, {}],
  ])("are not certain to be the same with %s", (_what, one, other) => {
    expect([areSameValues(one, other), areSameValues(other, one)]).toEqual([false, false]);
  });
});
