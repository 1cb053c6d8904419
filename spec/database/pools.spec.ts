/* eslint-disable @typescript-eslint/require-await, @typescript-eslint/prefer-promise-reject-errors, @typescript-eslint/no-unsafe-return, @typescript-eslint/no-unsafe-enum-assignment -- wrappers and parsers as applications write them */
import { Pool, type PoolClient, type PoolConfig, types } from "pg";
import { firstValueFrom, toArray } from "rxjs";
import { type ConnectionPool, PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("a pool of the application's", () => {
  const pools: Pool[] = [];
  // Before those of the database, which look for what is left connected.
  const backends: PostgresResultBackend[] = [];
  afterEach(async () => {
    for (const backend of backends.splice(0)) await backend.close();
    for (const pool of pools.splice(0)) if (!pool.ending) await pool.end();
  });
  const database = specDatabase("pools");

  /** A pool to be ended after the spec, however it was changed. */
  function made<T extends Pool>(pool: T): T {
    pool.on("error", () => undefined);
    pools.push(pool);
    return pool;
  }
  const config = (options: PoolConfig = {}): PoolConfig => ({ connectionString: database.url, max: 2, ...options });
  function onPool(pool: ConnectionPool, options: PostgresResultBackendOptions = {}): PostgresResultBackend {
    const backend = new PostgresResultBackend(pool, {
      schema: database.schema,
      listen: { connection: database.url },
      ...options,
    });
    backends.push(backend);
    return backend;
  }

  /** Everything that reads or writes, on one backend. */
  async function tryEverything(backend: PostgresResultBackend, prefix: string): Promise<void> {
    const ids = ["a", "b", "c"].map((name) => `${prefix} ${name}`);
    const [a = "", b = "", c = ""] = ids;
    const fed = firstValueFrom(backend.results$({ where: (taskId) => taskId === c }));
    const completed = firstValueFrom(backend.groupCompletions$());
    const members = firstValueFrom(backend.groupMembers$(prefix).pipe(toArray()));
    const waits = Promise.all([backend.wait(a, 30_000), backend.waitSettled(b, 30_000)]);
    const group = backend.waitGroup(prefix, 30_000);
    await backend.ready();
    await backend.get("warm-up");
    await Promise.all([backend.store(a, { a: 1.5 }), backend.fail(b, new TypeError("b")), backend.store(c, [c])]);
    expect(await waits).toMatchObject([{ a: 1.5 }, { status: "rejected", reason: { failure: { name: "TypeError" } } }]);
    expect(await fed).toEqual({ taskId: c, status: "fulfilled", value: [c] });
    await backend.initGroup(prefix, ["x", "y"]);
    expect(await backend.getGroup(prefix)).toEqual({ groupId: prefix, total: 2, completed: 0, failed: 0, done: false });
    expect(await backend.openGroups()).toContainEqual(expect.objectContaining({ groupId: prefix, total: 2 }));
    expect(await backend.completeGroupMember(prefix, "x", 1)).toBe(1);
    expect(await backend.completeGroupMember(prefix, "y", 2)).toBe(2);
    expect(await group).toEqual([1, 2]);
    expect(await completed).toEqual({ groupId: prefix, total: 2, completed: 2, failed: 0, done: true });
    expect((await members).map(({ taskId }) => taskId)).toEqual(["x", "y"]);
    expect(await backend.unclaimedGroups()).toContainEqual(expect.objectContaining({ groupId: prefix, completed: 2 }));
    expect(await (await backend.claimGroup(prefix, { leaseMs: 60_000 }))?.ack()).toBe(true);
    expect(await backend.delete(a)).toBe(true);
    expect(await backend.prune()).toEqual({ results: 0, groups: 0, streams: 0 });
    expect(await backend.health()).toMatchObject({
      ok: true,
      problems: [],
      schemaVersion: expect.any(Number) as number,
    });
    expect(await backend.inspect()).toMatchObject({ schema: database.schema, listeners: expect.any(Number) as number });
    expect((await backend.diagnose()).length).toBeGreaterThan(3);
    expect(await backend.migrate()).toMatchObject({ applied: [], repaired: [] });
  }

  describe("gives its connections", () => {
    it("by promise alone", async () => {
      class Promising extends Pool {
        override connect(...ignored: never[]): Promise<PoolClient>;
        override async connect(): Promise<PoolClient> {
          await new Promise(setImmediate);
          return super.connect();
        }
      }
      const pool = made(new Promising(config()));
      const backend = onPool(pool);
      await tryEverything(backend, "by promise");
      await backend.close();
      expect(pool.idleCount).toBe(pool.totalCount);
    });

    it.each([1, 4])("by promise and by callback, the same or another, of %i", async (max) => {
      const pool = made(new Pool(config({ max })));
      const connect = pool.connect.bind(pool);
      const twice = (callback: Parameters<typeof connect>[0]): unknown => {
        connect(callback);
        return connect();
      };
      const once = async (callback: Parameters<typeof connect>[0]): Promise<unknown> =>
        new Promise((resolve, reject) =>
          connect((error, client, done) => {
            callback(error, client, done);
            if (client === undefined) reject(error ?? new Error("none"));
            else resolve(client);
          }),
        );
      for (const changed of [twice, once]) {
        const backend = onPool(Object.assign(Object.create(pool) as Pool, { connect: changed }), {
          retryTimeoutMs: 5_000,
        });
        await Promise.all(Array.from({ length: 20 }, async (_, index) => backend.store(`twice ${index}`, index)));
        expect(await backend.get("twice 19")).toBe(19);
        await backend.close();
        await eventually(() => expect([pool.idleCount, pool.waitingCount]).toEqual([pool.totalCount, 0]));
      }
    });

    it("after an error, which may be thrown, rejected or given", async () => {
      const refusals = [
        () => {
          throw new Error("no connection");
        },
        async () => Promise.reject(new Error("no connection")),
        (callback?: (error: Error) => void) => callback?.(new Error("no connection")),
      ];
      const pool = made(new Pool(config()));
      for (const connect of refusals) {
        const refusing = Object.assign(Object.create(pool) as Pool, { connect });
        const backend = onPool(refusing, { retryTimeoutMs: 1_000 });
        const refused = {
          name: "DatabaseError",
          transient: true,
          message: expect.stringContaining("no connection") as string,
        };
        await expect(backend.get("task")).rejects.toMatchObject(refused);
        await expect(backend.health()).resolves.toMatchObject({ ok: false });
        await backend.close();
      }
    });

    it("without options and without events", async () => {
      const pool = made(new Pool(config()));
      const bare: ConnectionPool = {
        connect: async () => {
          const client = await pool.connect();
          return {
            query: async (text, values) => client.query(text, values),
            release: (destroy) => client.release(destroy),
          };
        },
      };
      const backend = onPool(bare);
      await tryEverything(backend, "bare");
      await backend.close();
      const deaf = new PostgresResultBackend(bare, { schema: database.schema });
      const wait = deaf.wait("bare polled", 30_000);
      await deaf.store("bare polled", 1);
      expect(await wait).toBe(1);
      await deaf.close();
    });
  });

  describe("whose query is wrapped", () => {
    type Query = (...parameters: unknown[]) => unknown;
    /** A backend on clients whose `query` is made from the driver's own. */
    function wrapping(wrap: (query: Query) => Query, retryTimeoutMs = 5_000): PostgresResultBackend {
      const pool = made(new Pool(config()));
      pool.on("connect", (client) => {
        client.query = wrap(client.query.bind(client)) as typeof client.query;
      });
      return onPool(pool, { retryTimeoutMs });
    }

    it.each<[string, (query: Query) => Query]>([
      [
        "by an async function",
        (query) =>
          async (...parameters) =>
            query(...parameters),
      ],
      ["by a function that ignores the callback", (query) => async (config) => query(config)],
      [
        "by a function that calls back late",
        (query) => (config, callback) =>
          void query(config, (...outcome: unknown[]) => setImmediate(() => (callback as Query)(...outcome))),
      ],
      [
        "by a function that answers in both ways",
        (query) => async (config, callback) =>
          new Promise((resolve, reject) =>
            query(config, (error: unknown, result: unknown) => {
              (callback as Query | undefined)?.(error, result);
              if (error instanceof Error) reject(error);
              else resolve(result);
            }),
          ),
      ],
    ])("works %s", async (name, wrap) => {
      const backend = wrapping(wrap);
      await tryEverything(backend, name);
      await backend.close();
    });

    const unhandled: unknown[] = [];
    const note = (reason: unknown): void => void unhandled.push(reason);
    beforeAll(() => process.on("unhandledRejection", note));
    afterAll(() => void process.off("unhandledRejection", note));

    it.each<[string, (query: Query) => Query]>([
      [
        "throws",
        () => () => {
          throw new Error("circuit open");
        },
      ],
      ["rejects", () => async () => Promise.reject(new Error("circuit open"))],
      ["rejects with nothing", () => async () => Promise.reject(undefined)],
      [
        "rejects and calls back",
        () => async (_config, callback) => {
          (callback as Query | undefined)?.(new Error("circuit open"));
          return Promise.reject(new Error("circuit open"));
        },
      ],
      ["never answers", () => () => undefined],
      ["never settles", () => async () => new Promise(() => undefined)],
    ])("rejects each call where it %s, and nothing else", async (_name, wrap) => {
      const backend = wrapping(wrap, 400);
      const refused = { name: "DatabaseError", transient: true };
      const calls = [
        backend.get("task"),
        backend.store("task", 1),
        backend.completeGroupMember("group", "task", 1),
        backend.getGroupResults("group"),
        backend.claimGroup("group"),
        backend.delete("task"),
      ];
      for (const call of calls) await expect(call).rejects.toMatchObject(refused);
      await expect(backend.wait("task", 500)).rejects.toMatchObject({ name: "WaitTimeoutError" });
      expect(await backend.health()).toMatchObject({ ok: false });
      await backend.close();
      expect(unhandled).toEqual([]);
    });
  });

  describe("with parsers of its own", () => {
    const raw = { getTypeParser: () => (value: unknown) => value };
    const big = {
      getTypeParser: (typeId: number) => (typeId === 20 || typeId === 23 ? BigInt : types.getTypeParser(typeId)),
    };
    const throwing = {
      getTypeParser: () => (): never => {
        throw new Error("a parser of the application's");
      },
    };
    it.each<[string, PoolConfig]>([
      ["raw strings", { types: raw }],
      ["BigInt", { types: big }],
      ["parsers that throw", { types: throwing }],
      ["the binary format", { binary: true } as PoolConfig],
      ["the binary format as it comes", { binary: true, types: raw } as never],
    ])("reads the same: %s", async (name, options) => {
      const backend = onPool(made(new Pool(config(options))));
      await tryEverything(backend, name);
      await backend.close();
      const own = await database.open({}, config(options));
      await tryEverything(own, `own ${name}`);
    });

    it("reads the same where they are those of the whole process, and so are its defaults", async () => {
      const typeIds = [16, 20, 21, 23, 25, 26, 114, 701, 1184, 3802];
      const before = typeIds.map((typeId) => types.getTypeParser(typeId));
      for (const typeId of typeIds) types.setTypeParser(typeId, (value: string) => ({ parsed: value }) as never);
      try {
        const backend = onPool(made(new Pool(config())));
        await tryEverything(backend, "global");
        await backend.close();
      } finally {
        typeIds.forEach((typeId, index) => types.setTypeParser(typeId, before[index] as never));
      }
    });
  });

  it.each([2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER])(
    "goes on for %d ms where it is told to",
    async (retryTimeoutMs) => {
      const pool = made(new Pool(config()));
      const backend = onPool(pool, { retryTimeoutMs });
      await tryEverything(backend, `for ${retryTimeoutMs}`);
      await database.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", [
        database.schema,
      ]);
      await backend.store("after an outage", 1);
      expect(await backend.get("after an outage")).toBe(1);
      await backend.close();
    },
  );

  it("that is ended in the same turn leaves no call without an answer", async () => {
    const pool = made(new Pool(config()));
    const backend = onPool(pool, { retryTimeoutMs: 1_000 });
    await backend.get("warm-up");
    const calls = [backend.health(), backend.inspect(), backend.diagnose(), backend.prune(), backend.migrate()];
    const rest = [
      backend.get("task"),
      backend.store("task", 1),
      backend.claimGroup("group"),
      backend.getGroup("group"),
    ];
    void pool.end();
    const outcomes = await Promise.allSettled([...calls, ...rest]);
    expect(outcomes[0]).toMatchObject({ status: "fulfilled", value: { ok: false } });
    await backend.close();
  });
});
