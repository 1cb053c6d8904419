import { type Client, Pool } from "pg";
import { PostgresResultBackend } from "kojin-postgres";
import { channelOf } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { freeze } from "../support/processes";
import { faultSuite, whenNotifying } from "./support/fault-suite";

describe("while another session holds the lock for notifications", () => {
  const suite = faultSuite();

  /**
   * A foreign session stores, and its commit, holding the notification lock, waits for a standby that does not exist.
   * Settles with that commit.
   */
  async function stallCommit(taskId: string): Promise<{ pid: number; committed: Promise<unknown> }> {
    await suite.server.configure({ synchronous_standby_names: "ghost" });
    const client = await suite.connect();
    const pid = await pidOf(client);
    const committed = client.query("insert into kojin_results (task_id, result) values ($1, '1')", [taskId]);
    await eventually(async () => expect(await waitEventOf(pid)).toBe("SyncRep"));
    return { pid, committed };
  }

  const pidOf = async (client: Client): Promise<number> =>
    (await client.query<{ pid: number }>("select pg_backend_pid() as pid")).rows[0]?.pid ?? 0;

  async function waitEventOf(pid: number): Promise<string | undefined> {
    const rows = await suite.server.sql<{ wait_event: string }>(
      "select wait_event from pg_stat_activity where pid = $1",
      [pid],
    );
    return rows[0]?.wait_event;
  }

  it("stores all the same, when a frozen session holds it, and waiters find the results by reading", async () => {
    const [storing, waiting] = [await suite.open({ retryTimeoutMs: 2_000 }), await suite.open()];
    const waits = [1, 2, 3].map(async (index) => waiting.wait(`frozen ${index}`, 60_000));
    await eventually(() => expect(waiting.stats().status).toBe("listening"));
    const { pid, committed } = await stallCommit("foreign");
    const thaw = freeze(pid);
    try {
      // Commits no longer need a standby, but the frozen session does not know yet.
      await suite.server.configure({ synchronous_standby_names: null });
      await Promise.all([1, 2, 3].map(async (index) => storing.store(`frozen ${index}`, index)));
      expect(storing.stats().stores).toMatchObject({ rows: 3, unnotified: whenNotifying(3) });
      expect(await Promise.all(waits)).toEqual([1, 2, 3]);
      expect(waiting.stats().status).toBe("polling");
      expect((await waiting.health()).problems.join()).toContain("takes no notification");
      await storing.initGroup("frozen group", 1);
      expect(await storing.completeGroupMember("frozen group", "a", 1)).toBe(1);
      expect(await waiting.waitGroup("frozen group", 20_000)).toEqual([1]);
      // No abandoned statement still waits for the lock on the server.
      await eventually(async () =>
        expect((await suite.server.clients()).filter(({ wait_event }) => wait_event === "object")).toEqual([]),
      );
    } finally {
      thaw();
    }
    await committed;
    const held = waiting.wait("thawed", 60_000);
    await eventually(() => expect(waiting.stats().status).toBe("listening"), { timeoutMs: 15_000 });
    await storing.store("thawed", 1);
    expect(await held).toBe(1);
    expect(storing.stats().stores.unnotified).toBe(whenNotifying(3));
  });

  it("settles every call in its time when no commit comes to an end, and loses nothing", async () => {
    const [storing, waiting] = [
      await suite.open({ retryTimeoutMs: 4_000 }),
      await suite.open({ sweepIntervalMs: 1_000 }),
    ];
    // Connected and checked beforehand, so that all the time is left for the attempts with and without notification.
    await Promise.all([waiting.ready(), storing.store("warm", 1)]);
    const later = waiting.wait("endless", 30_000);
    const { committed } = await stallCommit("endless foreign");
    const startedAt = performance.now();
    const settled = await Promise.allSettled([
      storing.store("endless", "stored or not"),
      storing.completeGroupMember("endless group", "a", 1),
      storing.initGroup("endless other", 1),
      waiting.wait("endless foreign", 1_500),
    ]);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    const codes = settled.map((each) => (each.status === "rejected" ? (each.reason as { code: string }).code : "none"));
    expect(codes).toEqual(["DATABASE", "DATABASE", "DATABASE", "WAIT_TIMEOUT"]);
    await suite.server.configure({ synchronous_standby_names: null });
    await committed;
    expect(await waiting.wait("endless foreign", 20_000)).toBe(1);
    // A commit that was abandoned ends too. The error said that it might.
    expect(await later).toBe("stored or not");
    await eventually(async () => {
      const busy = (await suite.server.clients()).filter(({ state }) => state !== "idle");
      expect(busy).toEqual([]);
    });
  });

  describe("with notify: 'deferred' and a single connection that pipelines", () => {
    let pool: Pool;
    let storing: PostgresResultBackend;
    let release: () => Promise<unknown>;
    let attempts = 0;

    beforeEach(async () => {
      pool = new Pool({ connectionString: suite.server.url, max: 1, pipeline: true, application_name: "single" });
      pool.on("error", () => undefined);
      storing = new PostgresResultBackend(pool, { notify: "deferred", listen: false });
      await storing.store("warm", 1);
    });
    afterEach(async () => {
      await storing.close();
      await pool.end();
    });

    /** Holds the lock until `release`, while commits need no standby. */
    async function holdLock(): Promise<void> {
      const { pid, committed } = await stallCommit(`foreign ${(attempts += 1)}`);
      const thaw = freeze(pid);
      release = async () => {
        thaw();
        await committed;
      };
      await suite.server.configure({ synchronous_standby_names: null });
    }

    /** The process of the pool's session, if it waits for the lock. */
    async function waitingSession(): Promise<number | undefined> {
      const rows = await suite.server.sql<{ pid: number }>(
        "select pid from pg_stat_activity where application_name = 'single' and wait_event = 'object'",
      );
      return rows[0]?.pid;
    }

    it("sends a notification again that was not confirmed, as when its session ends", async () => {
      const listening = await suite.connect();
      const payloads: string[] = [];
      listening.on("notification", ({ payload = "" }) => payloads.push(payload));
      await listening.query(`listen ${channelOf("public")}`);
      await holdLock();
      try {
        await storing.store("again", 1);
        const first = await eventually(async () => (await waitingSession()) ?? Promise.reject(new Error("not yet")));
        await suite.server.sql("select pg_terminate_backend($1)", [first]);
        await eventually(async () => {
          const second = await waitingSession();
          expect(second).toBeGreaterThan(0);
          expect(second).not.toBe(first);
        });
      } finally {
        await release();
      }
      await eventually(() =>
        expect(payloads.filter((payload) => payload.includes("again"))).toEqual([expect.any(String)]),
      );
      expect(storing.stats().announcementsFailed).toBe(0);
    });

    it("returns the connection of a refused store once its notification has waited for its lock, and sends no other", async () => {
      await suite.server.sql("alter table kojin_results add constraint refused check (task_id <> 'refused')");
      await holdLock();
      try {
        await expect(storing.store("refused", 1)).rejects.toMatchObject({ sqlState: "23514" });
        await eventually(() => expect(pool.idleCount).toBe(1));
      } finally {
        await release();
      }
      expect(storing.stats().announcementsFailed).toBe(0);
      await storing.store("accepted", 1);
    });
  });

  it("does not pile up sessions that wait for a locked row", async () => {
    const before = await suite.open();
    await before.store("locked", 1);
    await before.close();
    const storing = await suite.open({ retryTimeoutMs: 800 });
    const lock = await suite.connect();
    await lock.query("begin; select from kojin_results where task_id = 'locked' for update");
    for (let round = 0; round < 5; round += 1) {
      await expect(storing.store("locked", round)).rejects.toMatchObject({ code: "DATABASE", transient: true });
    }
    await eventually(async () => expect((await suite.server.clients()).length).toBeLessThanOrEqual(7));
    await eventually(async () =>
      expect((await suite.server.clients()).filter(({ wait_event }) => wait_event === "transactionid")).toEqual([]),
    );
    await lock.query("commit");
    const after = await suite.open();
    await after.store("locked", "free");
    expect(await after.get("locked")).toBe("free");
  });
});
