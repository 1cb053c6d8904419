import { Pool } from "pg";
import { DatabaseError, PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "./support/eventually";
import { specDatabase } from "./support/spec-database";

describe("bad input", () => {
  const database = specDatabase("bad input");

  describe("an id", () => {
    const bad: [string, unknown, new () => Error][] = [
      ["empty", "", RangeError],
      ["of 513 bytes", "x".repeat(513), RangeError],
      ["of 513 bytes in fewer characters", `${"é".repeat(256)}x`, RangeError],
      ["with NUL", "a\0b", RangeError],
      ["with a lone surrogate", "a\ud800", RangeError],
      ["that is a number", 7, TypeError],
      ["that is missing", undefined, TypeError],
      ["that is null", null, TypeError],
      ["that is an object", {}, TypeError],
    ];
    it.each(bad)("%s is refused by every call, before anything is sent", async (_what, id, type) => {
      const backend = await database.open();
      const { queries } = backend.stats();
      const taskId = id as string;
      const calls = [
        backend.store(taskId, 1),
        backend.fail(taskId, 1),
        backend.get(taskId),
        backend.getSettled(taskId),
        backend.wait(taskId, 1),
        backend.waitSettled(taskId, 1),
        backend.delete(taskId),
      ];
      for (const call of calls) {
        const rejection: unknown = await call.catch((error: unknown) => error);
        expect(rejection).toBeInstanceOf(type);
        expect((rejection as Error).message).toMatch(/^taskId: expected .*, got /);
      }
      expect(() => backend.result$(taskId)).toThrow(type);
      expect(backend.stats().queries).toBe(queries);
    });

    it("of 512 bytes is taken", async () => {
      const backend = await database.open();
      for (const taskId of ["x".repeat(512), "é".repeat(256), "🙂".repeat(128)]) {
        await backend.store(taskId, 1);
        expect(await backend.get(taskId)).toBe(1);
      }
    });
  });

  describe("a timeout", () => {
    it.each([[-1], [NaN], [-Infinity], [Number.MAX_VALUE]])("of %d ms is refused", async (timeoutMs) => {
      const backend = await database.open();
      await expect(backend.wait("t", timeoutMs)).rejects.toBeInstanceOf(RangeError);
      await expect(backend.wait("t", { timeoutMs })).rejects.toBeInstanceOf(RangeError);
    });

    it.each([["1000"], [undefined], [null], [{}]])("that is %j is refused", async (timeout) => {
      const backend = await database.open();
      await expect(backend.wait("t", timeout as unknown as number)).rejects.toBeInstanceOf(TypeError);
    });

    it.each([[2 ** 31], [2 ** 40], [Infinity]])("of %d ms does not end at once", async (timeoutMs) => {
      const backend = await database.open();
      const waits = backend.wait(`long ${timeoutMs}`, timeoutMs);
      await eventually(() => {
        expect(backend.stats().reads.statements).toBeGreaterThan(0);
        expect(backend.stats().reads.inFlight).toBe(0);
      });
      await backend.store("marker", 1);
      await backend.wait("marker", 50);
      expect(backend.stats().waiting).toBe(1);
      await backend.store(`long ${timeoutMs}`, "came");
      expect(await waits).toBe("came");
    });

    it("with something else for a signal is refused", async () => {
      const backend = await database.open();
      await expect(backend.wait("t", { timeoutMs: 1, signal: {} as AbortSignal })).rejects.toBeInstanceOf(TypeError);
    });
  });

  it.each([[0], [-1], [NaN], [-Infinity], [Number.MAX_VALUE]])("a time to live of %d ms is refused", async (ttlMs) => {
    const backend = await database.open();
    await expect(backend.store("t", 1, { ttlMs })).rejects.toBeInstanceOf(RangeError);
    await expect(backend.fail("t", 1, { ttlMs })).rejects.toBeInstanceOf(RangeError);
    expect(() => backend.withTtl(ttlMs)).toThrow(RangeError);
    await expect(database.open({ ttlMs })).rejects.toBeInstanceOf(RangeError);
  });

  it("the longest time to live is taken", async () => {
    const backend = await database.open();
    await backend.store("long lived", 1, { ttlMs: Number.MAX_SAFE_INTEGER });
    await backend.store("short lived", 1, { ttlMs: 0.5 });
    expect(await backend.get("long lived")).toBe(1);
  });

  it("an unknown conflict rule, condition or drain time is refused", async () => {
    const backend = await database.open();
    await expect(backend.store("t", 1, { onConflict: "ignore" as "keep" })).rejects.toBeInstanceOf(TypeError);
    expect(() => backend.results$({ where: "mine" as unknown as () => boolean })).toThrow(TypeError);
    await expect(backend.close({ drainMs: -1 })).rejects.toBeInstanceOf(RangeError);
  });

  it("an option that a call of an operator does not have is refused", async () => {
    const backend = await database.open();
    const { queries } = backend.stats();
    const options = { force: true } as object;
    for (const name of ["migrate", "prune", "countExpired", "diagnose", "openGroups"] as const)
      await expect(backend[name](options)).rejects.toThrow(/^force: unknown option\. The most similar one is \w+\.$/);
    expect(backend.stats().queries).toBe(queries);
  });

  describe("an address", () => {
    it.each([
      ["not an address"],
      [""],
      ["http://127.0.0.1/x"],
      ["mysql://root:secret@127.0.0.1/x"],
      ["postgres://user:secret@host:port/x"],
      [undefined],
      [7],
    ])("%j is refused, and not repeated in the message", async (address) => {
      const rejection: unknown = await PostgresResultBackend.connect(address as string).catch(
        (error: unknown) => error,
      );
      expect(rejection).toBeInstanceOf(TypeError);
      expect((rejection as Error).message).toMatch(/^connection: expected /);
      expect((rejection as Error).message).not.toContain("secret");
    });

    it("that is empty is said to be, as it is where a variable of the environment is not set", async () => {
      await expect(PostgresResultBackend.connect("")).rejects.toThrow(
        /^connection: expected .*, got an empty string\.$/,
      );
    });

    it("fails fast if no server answers", async () => {
      const rejection: unknown = await PostgresResultBackend.connect("postgres://127.0.0.1:1/x").catch(
        (error: unknown) => error,
      );
      expect(rejection).toBeInstanceOf(DatabaseError);
      expect(rejection).toMatchObject({
        name: "DatabaseError",
        code: "DATABASE",
        sqlState: undefined,
        transient: true,
      });
      expect(rejection).toMatchObject({ cause: { code: "ECONNREFUSED" } });
    });

    it("with a wrong password, or of a database that is not there, fails with the server's verdict", async () => {
      const [password, name] = [new URL(database.url), new URL(database.url)];
      password.password = "wrong";
      name.pathname = "/no_such_database";
      await expect(PostgresResultBackend.connect(name.href)).rejects.toMatchObject({
        code: "DATABASE",
        sqlState: "3D000",
        transient: false,
      });
      await expect(PostgresResultBackend.connect(password.href)).rejects.toMatchObject({
        code: "DATABASE",
        sqlState: "28P01",
        transient: false,
      });
    });
  });

  it.each<[PostgresResultBackendOptions]>([
    [{ schema: "" }],
    [{ schema: "x".repeat(64) }],
    [{ schema: "a\0" }],
    [{ sweepIntervalMs: 0 }],
    [{ retryTimeoutMs: -1 }],
    [{ batch: { maxRows: 0 } }],
    [{ batch: { inFlight: 1.5 } }],
    [{ maxResultBytes: 0 }],
    [{ inlineResultBytes: 8_000 }],
    [{ pruneIntervalMs: 0 }],
  ])("the options %j are refused", async (options) => {
    await expect(PostgresResultBackend.connect(database.url, options)).rejects.toBeInstanceOf(RangeError);
    const pool = new Pool();
    expect(() => new PostgresResultBackend(pool, options)).toThrow(RangeError);
    await pool.end();
  });

  it("something else for a pool is refused", () => {
    expect(() => new PostgresResultBackend(database.url as unknown as Pool)).toThrow(TypeError);
    expect(() => new PostgresResultBackend(undefined as unknown as Pool)).toThrow(TypeError);
  });
});
