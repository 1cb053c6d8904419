import { firstValueFrom, lastValueFrom, toArray } from "rxjs";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix} ${index}`);

describe("a role with settings of its own", () => {
  const suite = faultSuite();

  /** The server's address for a role whose sessions begin with these settings. */
  async function createRole(role: string, settings: Readonly<Record<string, string>>): Promise<string> {
    await suite.server.sql(`create role ${role} superuser login password 'odd'`);
    for (const [name, value] of Object.entries(settings))
      await suite.server.sql(`alter role ${role} set ${name} = ${value}`);
    return Object.assign(new URL(suite.server.url), { username: role, password: "odd" }).href;
  }

  describe.each([
    ["digits", { extra_float_digits: "-15" }],
    [
      "formats",
      {
        timezone: "'Asia/Kathmandu'",
        datestyle: "'SQL, DMY'",
        intervalstyle: "'sql_standard'",
        bytea_output: "'escape'",
        standard_conforming_strings: "off",
        transform_null_equals: "on",
      },
    ],
  ])("for what numbers and times look like (%s)", (role, settings) => {
    let backend: PostgresResultBackend;

    beforeAll(async () => {
      backend = await suite.open({ schema: role }, await createRole(role, settings));
      expect(await backend.migrate()).toMatchObject({ repaired: [], schema: role });
    });

    it("stores, waits, expires and prunes as ever", async () => {
      const waits = names("odd", 50).map(async (taskId) => backend.wait(taskId, 30_000));
      await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
      await Promise.all(names("odd", 50).map(async (taskId) => backend.store(taskId, { taskId, at: 1234.5678901 })));
      expect(await Promise.all(waits)).toEqual(names("odd", 50).map((taskId) => ({ taskId, at: 1234.5678901 })));
      expect(backend.stats().wokenBy).toMatchObject({ notification: 50, sweep: 0 });
      await backend.store("soon gone", 1, { ttlMs: 40 });
      await eventually(async () => expect(await backend.get("soon gone")).toBeUndefined());
      expect(await backend.prune()).toEqual({ results: 1, groups: 0, streams: 0 });
      expect(await backend.delete("odd 0")).toBe(true);
      expect(await backend.health()).toMatchObject({ ok: true, problems: [] });
    });

    it("feeds results and groups, each once", async () => {
      const [results, groups]: [string[], string[]] = [[], []];
      const subscriptions = [
        backend.results$().subscribe(({ taskId }) => results.push(taskId)),
        backend.groupCompletions$().subscribe(({ groupId }) => groups.push(groupId)),
      ];
      await eventually(() => expect(backend.stats().status).toBe("listening"));
      const [before, after] = [names("before", 10), names("after", 10)];
      await Promise.all(before.map(async (id) => Promise.all([backend.store(id, 1), backend.initGroup(id, 0)])));
      await suite.server.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '% listener'",
      );
      await Promise.all(after.map(async (id) => Promise.all([backend.store(id, 1), backend.initGroup(id, 0)])));
      const expected = [...before, ...after].sort();
      await eventually(() => expect([...results].sort()).toEqual(expected), { timeoutMs: 15_000 });
      await eventually(() => expect([...groups].sort()).toEqual(expected), { timeoutMs: 15_000 });
      for (const subscription of subscriptions) subscription.unsubscribe();
    });

    it("counts members of groups, and keeps their deadlines and claims", async () => {
      await backend.initGroup("members", ["a", "b"]);
      const members = lastValueFrom(backend.groupMembers$("members").pipe(toArray()));
      const last = lastValueFrom(backend.group$("members"));
      expect(await backend.completeGroupMember("members", "a", 1)).toBe(1);
      expect(await backend.completeGroupMember("members", "b", 2)).toBe(2);
      expect((await members).map(({ taskId }) => taskId)).toEqual(["a", "b"]);
      expect(await last).toMatchObject({ total: 2, completed: 2, done: true });
      await backend.initGroup("late", 1, { deadlineMs: 1_234 });
      await expect(backend.waitGroup("late", 30_000)).rejects.toMatchObject({ code: "WAIT_TIMEOUT", timeoutMs: 1_234 });
      expect(await backend.claimGroup("members", { leaseMs: 50 })).toBeDefined();
      await eventually(async () => expect(await backend.claimGroup("members")).toBeDefined());
      expect(await backend.claimGroup("members")).toBeUndefined();
    });
  });

  describe("for transactions that are serializable", () => {
    let url = "";

    beforeAll(async () => (url = await createRole("strict", { default_transaction_isolation: "serializable" })));

    it("migrates once, however many processes try at once", async () => {
      const backends = await Promise.all(names("", 5).map(async () => suite.open({ schema: "strict" }, url)));
      const reports = await Promise.all(backends.map(async (backend) => backend.migrate()));
      expect(reports.filter(({ applied }) => applied.length > 0)).toHaveLength(1);
      await Promise.all(backends.map(async (backend) => backend.close()));
    });

    it("retries what could not be serialized, and loses nothing of it", async () => {
      const backends = await Promise.all(
        names("", 4).map(async () => suite.open({ retryTimeoutMs: 40_000, batch: { maxRows: 5 } }, url)),
      );
      const waits = names("strict", 100).map(async (taskId) => backends[0]?.wait(taskId, 50_000));
      const group = backends[1]?.waitGroup("strict", 50_000);
      // All on the same rows and the same group.
      await Promise.all(
        backends.flatMap((backend) => names("strict", 100).map(async (taskId) => backend.store(taskId, taskId))),
      );
      expect(await Promise.all(waits)).toEqual(names("strict", 100));
      await Promise.all(backends.map(async (backend) => backend.initGroup("strict", 100)));
      const counts = await Promise.all(
        names("member", 100).map(async (taskId, index) =>
          backends[index % 4]?.completeGroupMember("strict", taskId, taskId),
        ),
      );
      expect(counts.sort((a = 0, b = 0) => a - b)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
      expect(await group).toHaveLength(100);
      const retries = backends.map((backend) => backend.stats().stores.retries + backend.stats().groupWrites.retries);
      expect(retries.reduce((sum, count) => sum + count)).toBeGreaterThan(0);
    });

    it("feeds, claims and prunes", async () => {
      const backend = await suite.open({}, url);
      const first = firstValueFrom(backend.results$({ where: (taskId) => taskId === "fed" }));
      await eventually(() => expect(backend.stats().status).toBe("listening"));
      await backend.store("fed", 1);
      expect(await first).toEqual({ taskId: "fed", status: "fulfilled", value: 1 });
      await backend.initGroup("claimed", 0);
      expect(await backend.claimGroup("claimed")).toBeDefined();
      expect(await backend.claimGroup("claimed")).toBeUndefined();
      await backend.store("short", 1, { ttlMs: 40 });
      await eventually(async () => expect(await backend.get("short")).toBeUndefined());
      expect(await backend.prune()).toEqual({ results: 1, groups: 0, streams: 0 });
    });
  });

  it("for transactions that only read has writes refused in time, and reads on", async () => {
    const url = await createRole("reader", { default_transaction_read_only: "on" });
    const backend = await suite.open({ retryTimeoutMs: 1_000 }, url);
    const writer = await suite.open();
    const held = backend.wait("held", 30_000);
    const refused = { name: "DatabaseError", sqlState: "25006", transient: true };
    await expect(backend.store("refused", 1)).rejects.toMatchObject(refused);
    await expect(backend.initGroup("refused", 1)).rejects.toMatchObject(refused);
    await expect(backend.delete("refused")).rejects.toMatchObject(refused);
    await eventually(() => expect(backend.stats().status).toBe("listening"));
    await writer.store("held", 1);
    expect(await held).toBe(1);
  });
});
