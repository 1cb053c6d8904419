import { Pool } from "pg";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

const settled = async (call: Promise<unknown>): Promise<unknown> => call.catch((error: unknown) => error);

/** Clocks of two machines cannot tell which of two writes within one round trip is the later one. */
const muchLater = async (): Promise<void> => {
  const startedAt = performance.now();
  await eventually(() => expect(performance.now() - startedAt).toBeGreaterThan(100));
};

describe("writes over a path that stalls", () => {
  const suite = faultSuite();
  let proxy: TcpProxy;

  beforeEach(async () => {
    proxy = await TcpProxy.start(suite.server.url);
  });
  afterEach(async () => {
    await proxy.stop();
  });

  /** Opens a backend with one connection through the proxy, which knows the schema and the clock. */
  async function openOver(options: PostgresResultBackendOptions = {}): Promise<PostgresResultBackend> {
    const pool = { connectionString: proxy.route(suite.server.url), max: 1 };
    const backend = await PostgresResultBackend.connect(pool, { retryTimeoutMs: 3_000, listen: false, ...options });
    await backend.store("warm", 1);
    return backend;
  }

  /** Lets the stalled attempts arrive and waits until the server has processed them. */
  async function arrive(): Promise<void> {
    proxy.releaseHeld();
    await eventually(async () => {
      const busy = (await suite.server.clients()).filter(({ state }) => state !== "idle");
      expect(busy).toEqual([]);
    });
  }

  it("an attempt that was given up does not replace a later value when it arrives", async () => {
    const backend = await openOver();
    proxy.hold();
    await backend.store("reverts", "v1");
    await backend.store("reverts", "v2");
    await backend.fail("reverts too", new Error("v1"));
    await backend.store("reverts too", "v2");
    await arrive();
    expect([await backend.get("reverts"), await backend.get("reverts too")]).toEqual(["v2", "v2"]);
    await backend.close();
  });

  it("calls that were rejected change nothing when their attempts arrive", async () => {
    const [backend, other] = [await openOver({ retryTimeoutMs: 1_000, batch: { inFlight: 2 } }), await suite.open()];
    await backend.initGroup("open", 3);
    for (const [name, write] of Object.entries({
      store: async () => backend.store("rejected", "v1"),
      keep: async () => backend.store("rejected", "v1", { onConflict: "keep" }),
      "many stores": async () => Promise.all(["rejected", "too"].map(async (id) => backend.store(id, "v1"))),
      member: async () => backend.completeGroupMember("open", "a", 1),
      group: async () => backend.initGroup("rejected", 1),
    })) {
      proxy.hold();
      // New connections fail, so the server can only get the first attempt.
      proxy.mode = "refuse";
      expect({ name, outcome: await settled(write()) }).toMatchObject({ name, outcome: { code: "DATABASE" } });
      proxy.mode = "pass";
      await arrive();
      expect({ name, row: await other.get("rejected") }).toEqual({ name, row: undefined });
      expect(await other.getGroup("rejected")).toBeUndefined();
      expect(await other.getGroup("open")).toMatchObject({ completed: 0 });
      await backend.store("warm", 2);
    }
    await backend.close();
  });

  it("deletions and claims that were rejected change nothing when their attempts arrive", async () => {
    const [backend, other] = [await openOver({ retryTimeoutMs: 1_000 }), await suite.open()];
    await other.store("kept", 1);
    for (const groupId of ["free", "leased"]) {
      await other.initGroup(groupId, 1);
      await other.completeGroupMember(groupId, "a", 1);
    }
    const leased = await backend.claimGroup("leased", { leaseMs: 60_000 });
    await other.initGroup("kept", 1);
    for (const write of [
      async () => backend.delete("kept"),
      async () => backend.deleteGroup("kept"),
      async () => backend.claimGroup("free"),
      async () => leased?.ack(),
    ]) {
      proxy.hold();
      proxy.mode = "refuse";
      expect(await settled(write())).toMatchObject({ code: "DATABASE", transient: true });
      proxy.mode = "pass";
      await arrive();
      await backend.store("warm", 2);
    }
    expect(await other.get("kept")).toBe(1);
    expect(await other.getGroup("kept")).toBeDefined();
    expect(await other.claimGroup("free")).toBeDefined();
    expect(
      await suite.server.sql("select isfinite(claimed_until) as open from kojin_group_state where group_id = 'leased'"),
    ).toEqual([{ open: true }]);
    expect(await leased?.ack()).toBe(true);
    await backend.close();
  });

  it("a deletion that is retried leaves alone what another process stored after the call", async () => {
    const [backend, other] = [await openOver(), await suite.open()];
    for (const id of ["newer", "older"]) {
      await other.store(`${id} deleted`, "before");
      proxy.hold();
      const { queries } = backend.stats();
      const call = backend.delete(`${id} deleted`);
      await eventually(() => expect(backend.stats().queries).toBeGreaterThan(queries));
      await muchLater();
      if (id === "newer") await other.store("newer deleted", "after");
      expect(await call).toBe(id === "older");
      await arrive();
    }
    expect(await other.get("newer deleted")).toBe("after");
    expect(await other.get("older deleted")).toBeUndefined();
    await backend.close();
  });

  it("a deletion of a group that is retried leaves alone a group that was created after the call", async () => {
    const [backend, other] = [await openOver(), await suite.open()];
    for (const id of ["newer", "older"]) {
      await other.initGroup(`${id} deleted`, 1);
      proxy.hold();
      const { queries } = backend.stats();
      const call = backend.deleteGroup(`${id} deleted`);
      await eventually(() => expect(backend.stats().queries).toBeGreaterThan(queries));
      await muchLater();
      if (id === "newer") {
        expect(await other.deleteGroup("newer deleted")).toBe(true);
        await other.initGroup("newer deleted", 2);
      }
      expect(await call).toBe(id === "older");
      await arrive();
    }
    expect(await other.getGroup("newer deleted")).toMatchObject({ total: 2 });
    expect(await other.getGroup("older deleted")).toBeUndefined();
    await backend.close();
  });

  it("a deletion of a group that gets its lock after its client has given up deletes nothing", async () => {
    const [backend, other] = [await openOver(), await suite.open()];
    await other.initGroup("locked", 1);
    const admin = await suite.connect();
    await admin.query("begin");
    await admin.query("select from kojin_group_state where group_id = 'locked' for update");
    const call = settled(backend.deleteGroup("locked"));
    const isBlocked = async (): Promise<void> =>
      expect(await suite.server.clients()).toContainEqual(expect.objectContaining({ wait_event: "transactionid" }));
    await eventually(isBlocked);
    // Nothing passes any more: no cancel request, and no retry.
    proxy.hold();
    proxy.mode = "refuse";
    expect(await call).toMatchObject({ code: "DATABASE", transient: true });
    await isBlocked();
    await admin.query("commit");
    await arrive();
    expect(await other.getGroup("locked")).toBeDefined();
    proxy.mode = "pass";
    await backend.close();
  });

  it("a retry leaves alone what another process stored after the call", async () => {
    const [backend, other] = [await openOver(), await suite.open()];
    proxy.hold();
    const call = backend.store("newer", "older call");
    await eventually(() => expect(backend.stats().stores.inFlight).toBe(1));
    await muchLater();
    await other.store("newer", "later call");
    await call;
    expect(await other.get("newer")).toBe("later call");
    await arrive();
    expect(await other.get("newer")).toBe("later call");
    await backend.close();
  });

  describe("members of groups", () => {
    /**
     * Makes a call whose first attempt does not arrive, lets another process write meanwhile, and gives the value that
     * a retry resolves the call with.
     */
    async function retried(
      backend: PostgresResultBackend,
      call: () => Promise<number>,
      meanwhile: () => Promise<unknown>,
    ): Promise<number> {
      proxy.hold();
      const count = call();
      await eventually(() => expect(backend.stats().groupWrites.inFlight).toBe(1));
      await muchLater();
      await meanwhile();
      try {
        return await count;
      } finally {
        await arrive();
      }
    }

    it("are left alone by a retry if another process wrote them after the call", async () => {
      const [backend, other] = [await openOver(), await suite.open()];
      const [complete, fail] = [
        async () => backend.completeGroupMember("retried", "a", "older call"),
        async () => backend.failGroupMember("retried", "b", new Error("older call")),
      ];
      await other.initGroup("retried", 4);
      const completed = retried(backend, complete, async () => other.completeGroupMember("retried", "a", "later call"));
      expect(await completed).toBe(1);
      const failed = retried(backend, fail, async () => other.failGroupMember("retried", "b", new Error("later call")));
      expect(await failed).toBe(1);
      expect(await other.getGroupResults("retried")).toEqual(["later call"]);
      const [failure] = await suite.server.sql(
        `select error->>'message' as message from kojin_groups where task_id = 'b'`,
      );
      expect(failure).toEqual({ message: "later call" });
      expect(await other.getGroup("retried")).toMatchObject({ completed: 1, failed: 1, done: false });
      await backend.close();
    });

    it("are left alone by a batch that is retried, which writes the others", async () => {
      const [backend, other] = [await openOver(), await suite.open()];
      await other.initGroup("batch", ["a", "b", "c", "d"]);
      let counts: number[] = [];
      await retried(
        backend,
        async () => {
          counts = await Promise.all(
            ["a", "b", "c"].map(async (taskId) => backend.completeGroupMember("batch", taskId, "older call")),
          );
          return counts.length;
        },
        async () => other.completeGroupMember("batch", "b", "later call"),
      );
      // The completion of `b` is repeated, so it returns the count of all completed members.
      expect(counts).toEqual([2, 3, 3]);
      expect(await other.getGroupResults("batch")).toEqual(["older call", "later call", "older call"]);
      await backend.close();
    });

    it("are left alone by a retry if the Rust crate wrote them after the call", async () => {
      const [backend, admin] = [await openOver(), await suite.connect()];
      const write = async (): Promise<unknown> =>
        admin.query(
          `insert into kojin_groups (group_id, task_id, result, completed) values ('crate', 'a', '"later call"', true)
           on conflict (group_id, task_id) do update set result = excluded.result, completed = true`,
        );
      await backend.initGroup("crate", 2);
      const complete = async (): Promise<number> => backend.completeGroupMember("crate", "a", "older call");
      expect(await retried(backend, complete, write)).toBe(1);
      await backend.completeGroupMember("crate", "a", "between");
      // Now as an update.
      expect(await retried(backend, complete, write)).toBe(1);
      expect(await backend.getGroupResults("crate")).toEqual(["later call"]);
      await backend.close();
    });

    it("are written by a retry over an older outcome, over one whose time cannot be, and over a failure", async () => {
      const [backend, other] = [await openOver(), await suite.open()];
      await other.initGroup("replaced", 1);
      for (const time of ["-infinity", "2000-01-01", "2900-01-01", "infinity", undefined]) {
        await other.completeGroupMember("replaced", "a", "before");
        await suite.server.sql(
          `update kojin_groups set stored_at = ${time === undefined ? "null" : `'${time}'`} where group_id = 'replaced'`,
        );
        const after = `after ${String(time)}`;
        const complete = async (): Promise<number> => backend.completeGroupMember("replaced", "a", after);
        expect(await retried(backend, complete, () => Promise.resolve())).toBe(1);
        expect(await other.getGroupResults("replaced")).toEqual([after]);
      }
      // A success replaces a failure, whichever comes first.
      await other.initGroup("outweighed", 1);
      const complete = async (): Promise<number> => backend.completeGroupMember("outweighed", "a", "success");
      const failMeanwhile = async (): Promise<number> => other.failGroupMember("outweighed", "a", new Error("later"));
      expect(await retried(backend, complete, failMeanwhile)).toBe(1);
      expect(await other.getGroup("outweighed")).toMatchObject({ completed: 1, failed: 0 });
      await backend.close();
    });

    it("are counted once by a retry whose first answer was lost", async () => {
      const backend = await openOver();
      await backend.initGroup("lost answer", 3);
      await backend.completeGroupMember("lost answer", "x", 1);
      // The server gets the statement, and the client no answer.
      proxy.loseAnswers();
      expect(await backend.completeGroupMember("lost answer", "a", 2)).toBe(2);
      expect(await backend.getGroup("lost answer")).toMatchObject({ completed: 2, done: false });
      await backend.close();
    });
  });

  it("a retry replaces what was stored before the call, or has a time that cannot be", async () => {
    const [backend, admin] = [await openOver(), await suite.connect()];
    for (const time of ["-infinity", "2000-01-01", "2900-01-01", "infinity"]) {
      await backend.store("stamped", time);
      await admin.query("update kojin_results set stored_at = $1 where task_id = 'stamped'", [time]);
      proxy.hold();
      await backend.store("stamped", `after ${time}`);
      expect(await backend.get("stamped")).toBe(`after ${time}`);
      await arrive();
    }
    await backend.close();
  });
});

describe("a pool that is busy", () => {
  const suite = faultSuite();

  async function openBusy(
    options: PostgresResultBackendOptions,
  ): Promise<{ backend: PostgresResultBackend; free: () => Promise<void> }> {
    const pool = new Pool({ connectionString: suite.server.url, max: 1 });
    pool.on("error", () => undefined);
    const backend = new PostgresResultBackend(pool, { listen: false, ...options });
    await backend.store("warm", 1);
    const held = await pool.connect();
    const free = async (): Promise<void> => {
      held.release();
      await eventually(async () => backend.get("warm"));
      await backend.close();
      await pool.end();
    };
    return { backend, free };
  }

  it("leaves nothing of a rejected store to be written later", async () => {
    const other = await suite.open();
    const { backend, free } = await openBusy({ retryTimeoutMs: 500, batch: { maxRows: 10 } });
    const earlier = Array.from({ length: 100 }, async (_, index) => settled(backend.store(`earlier ${index}`, index)));
    expect(await settled(backend.store("task", "rejected"))).toMatchObject({ code: "DATABASE", transient: true });
    await Promise.all(earlier);
    expect(backend.stats().stores).toMatchObject({ queued: 0, waiting: 0 });
    await other.store("task", "newer");
    await free();
    expect(await other.get("task")).toBe("newer");
    expect(await other.get("earlier 99")).toBeUndefined();
  });

  it.each([1, 3])("leaves alone what another process stored while %d stores waited", async (count) => {
    const [other, admin] = [await suite.open(), await suite.connect()];
    const { backend, free } = await openBusy({ retryTimeoutMs: 60_000 });
    const ids = Array.from({ length: count }, (_, index) => `waited ${count} ${index}`);
    const [newer = "", ...older] = ids;
    for (const id of ids) await other.store(id, "before");
    // Impossible times do not count as newer.
    await admin.query("update kojin_results set stored_at = 'infinity' where task_id = any ($1)", [older.slice(1)]);
    const calls = ids.map(async (id) => backend.store(id, "waited"));
    await eventually(() => expect(backend.stats().stores.inFlight).toBe(1));
    const busyUntil = performance.now() + 3_000;
    await other.store(newer, "acknowledged");
    await eventually(() => expect(performance.now()).toBeGreaterThan(busyUntil), { timeoutMs: 10_000 });
    await free();
    await Promise.all(calls);
    expect(await Promise.all(ids.map(async (id) => other.get(id)))).toEqual(
      ids.map((id) => (id === newer ? "acknowledged" : "waited")),
    );
  });

  it("does not grow the queue beyond its time", async () => {
    const { backend, free } = await openBusy({ retryTimeoutMs: 300 });
    const calls: Promise<unknown>[] = [];
    for (let round = 0; round < 10; round += 1) {
      const round$ = Array.from({ length: 500 }, async (_, index) =>
        settled(backend.store(`${round} ${index}`, index)),
      );
      calls.push(...round$);
      await Promise.all(round$);
      expect(backend.stats().stores.queued).toBeLessThanOrEqual(500);
    }
    await Promise.all(calls);
    await eventually(() => expect(backend.stats().stores.queued).toBe(0));
    await free();
  });
});
