import {
  GroupConflictError,
  type PostgresResultBackend,
  SchemaError,
  type SqlClient,
  TaskNotFoundError,
} from "kojin-postgres";
import { specDatabase, withParameter } from "../support/spec-database";
import { libraries, type Library } from "./support/libraries";

const odd = `it's "quoted" \\ $1 ? \\? :name {a,b} ümläut 🦀`;
const value = { [odd]: [odd, 1, 0.1, null, [true, []]] };
const members = [odd, "NULL", " ", "", "b,c"].map((name) => `member ${name}`);

/** Everything that a transaction can write, under ids of its own. */
class Writes {
  constructor(
    readonly backend: PostgresResultBackend,
    readonly prefix: string,
  ) {}

  id(name: string): string {
    return `${this.prefix} ${name} ${odd}`;
  }

  /** Writes what the transaction needs. */
  async prepare(): Promise<void> {
    await this.backend.store(this.id("deleted"), 1);
    await this.backend.store(this.id("kept"), "first");
    await this.backend.initGroup(this.id("done"), 0);
    await this.backend.initGroup(this.id("ended"), 0);
  }

  async run(client: SqlClient): Promise<void> {
    const { backend } = this;
    await backend.store(this.id("stored"), value, { client });
    await backend.store(this.id("kept"), "second", { client, onConflict: "keep" });
    await backend.store(this.id("for ever"), null, { client, ttlMs: Infinity });
    await backend.store(this.id("long"), [], { client, ttlMs: Number.MAX_SAFE_INTEGER });
    await backend.fail(this.id("failed"), new RangeError(odd), { client });
    expect(await backend.delete(this.id("deleted"), { client })).toBe(true);
    expect(await backend.delete(this.id("absent"), { client })).toBe(false);
    await backend.initGroup(this.id("numbered"), 3, { client, ttlMs: 0.5e12, deadlineMs: 1e12 });
    await backend.initGroup(this.id("declared"), members, { client });
    await backend.initGroup(this.id("empty"), [], { client });
    expect(await backend.completeGroupMember(this.id("numbered"), "a", value, { client })).toBe(1);
    expect(await backend.failGroupMember(this.id("numbered"), "b", new Error(odd), { client })).toBe(1);
    for (const [index, member] of members.entries())
      expect(await backend.completeGroupMember(this.id("declared"), member, index, { client })).toBe(index + 1);
    expect(await backend.emit(this.id("emitting"), value, { client })).toBe(1);
    expect(await backend.emit(this.id("emitting"), odd, { client, restart: true })).toBe(1);
    await backend.expect(this.id("expected"), { client });
    await backend.expect(this.id("expected"), { client, ttlMs: Infinity });
    expect(await backend.claimGroup(this.id("done"), { client })).toBeDefined();
    expect(await backend.claimGroup(this.id("numbered"), { client })).toBeUndefined();
    expect(await backend.deleteGroup(this.id("ended"), { client })).toBe(true);
    expect(await backend.deleteGroup(this.id("absent"), { client })).toBe(false);
  }

  async expectNothing(): Promise<void> {
    const { backend } = this;
    for (const name of ["stored", "for ever", "long", "failed"])
      expect(await backend.getSettled(this.id(name))).toBeUndefined();
    expect(await backend.get(this.id("deleted"))).toBe(1);
    expect(await backend.getGroup(this.id("ended"))).toBeDefined();
    await expect(backend.get(this.id("expected"), { mustExist: true })).rejects.toBeInstanceOf(TaskNotFoundError);
    for (const name of ["numbered", "declared", "empty"]) expect(await backend.getGroup(this.id(name))).toBeUndefined();
  }
}

describe.each(Object.entries(libraries))("a transaction of %s", (name, connect) => {
  const database = specDatabase(`clients "$1"? 's ${name.replace(/\W/g, "")}`);
  let library: Library;
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    library = await connect(withParameter(database.url, "application_name", "spec library"));
  });
  afterAll(async () => library.close());
  beforeEach(async () => {
    backend = await database.open({ sweepIntervalMs: 600_000 });
  });

  it("makes all writes and their notifications visible with its commit", async () => {
    const writes = new Writes(backend, "commit");
    await writes.prepare();
    await backend.ready();
    const waits = Promise.all([
      backend.wait(writes.id("stored"), 30_000),
      backend.waitSettled(writes.id("failed"), 30_000),
      backend.waitGroup(writes.id("declared"), 30_000),
      backend.waitGroup(writes.id("empty"), 30_000),
    ]);
    await library.transaction(async (client) => {
      await writes.run(client);
      await writes.expectNothing();
    });
    const [stored, failed, declared, empty] = await waits;
    expect([stored, declared, empty]).toEqual([value, [0, 1, 2, 3, 4], []]);
    expect(failed).toMatchObject({ status: "rejected", reason: { failure: { name: "RangeError", message: odd } } });
    expect(await backend.get(writes.id("kept"))).toBe("first");
    expect(await backend.get(writes.id("for ever"))).toBeNull();
    expect(await backend.get(writes.id("long"))).toEqual([]);
    expect(await backend.get(writes.id("deleted"))).toBeUndefined();
    expect(await backend.getGroup(writes.id("ended"))).toBeUndefined();
    expect(await backend.get(writes.id("expected"), { mustExist: true })).toBeUndefined();
    expect(await backend.getGroup(writes.id("numbered"))).toMatchObject({ total: 3, completed: 1, failed: 1 });
    expect(await backend.getGroupResults(writes.id("numbered"))).toEqual([value]);
    expect(await backend.claimGroup(writes.id("done"))).toBeUndefined();
  });

  it("leaves nothing behind when it is rolled back", async () => {
    const writes = new Writes(backend, "rollback");
    await writes.prepare();
    const rolledBack = library.transaction(async (client) => {
      await writes.run(client);
      throw new Error("no commit");
    });
    await expect(rolledBack).rejects.toThrow("no commit");
    await writes.expectNothing();
    expect(await backend.claimGroup(writes.id("done"))).toBeDefined();
  });

  it("rejects writes with the errors of this package", async () => {
    await backend.initGroup("taken", 2);
    await backend.initGroup("closed", ["a"]);
    const absent = await database.open({ schema: "absent", listen: false });
    const rejections: unknown[] = [];
    const attempt = async (write: (client: SqlClient) => Promise<unknown>): Promise<void> =>
      library.transaction(write).then(
        () => undefined,
        (error: unknown) => void rejections.push(error),
      );
    await attempt(async (client) => backend.initGroup("taken", 3, { client }));
    await attempt(async (client) => backend.completeGroupMember("closed", "b", 1, { client }));
    await attempt(async (client) => absent.store("t", 1, { client }));
    expect(rejections).toMatchObject([{ groupId: "taken" }, { groupId: "closed" }, { schema: "absent" }]);
    expect(rejections.map((error) => (error as Error).constructor)).toEqual([
      GroupConflictError,
      GroupConflictError,
      SchemaError,
    ]);
  });

  it("is not anything else of the library", async () => {
    for (const mistake of library.mistakes) {
      const create = async (): Promise<unknown> => mistake();
      await expect(create()).rejects.toThrow(TypeError);
      await expect(create()).rejects.toThrow(/expected .* of .*, got/);
    }
  });
});

describe("the option client", () => {
  const database = specDatabase("clients");

  it("is refused before anything is sent if it is no client of a transaction", async () => {
    const backend = await database.open({ listen: false });
    const runner = { isTransactionActive: true, query: () => fail() };
    const pool = Object.assign(Object.create(database.pool) as typeof database.pool, { query: () => fail() });
    const fail = (): never => {
      throw new Error("sent");
    };
    for (const client of [5, {}, null, "client", () => 1, runner, pool, { query: 1 }]) {
      const options = { client: client as never };
      const writes = [
        backend.store("t", 1, options),
        backend.fail("t", 1, options),
        backend.delete("t", options),
        backend.expect("t", options),
        backend.initGroup("g", 1, options),
        backend.completeGroupMember("g", "t", 1, options),
        backend.failGroupMember("g", "t", 1, options),
        backend.claimGroup("g", options),
        backend.deleteGroup("g", options),
      ];
      for (const { reason } of (await Promise.allSettled(writes)) as PromiseRejectedResult[]) {
        expect(reason).toBeInstanceOf(TypeError);
        expect(String(reason)).toContain("client: expected a client of pg");
      }
    }
  });
});
