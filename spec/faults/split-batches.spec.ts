import type { Client } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

type Outcome = PromiseSettledResult<unknown>;

/** The indexes of the rejected calls. */
const rejected = (outcomes: readonly Outcome[]): number[] =>
  outcomes.flatMap(({ status }, index) => (status === "rejected" ? [index] : []));

function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? rootOf(error.cause) : error;
}

describe("a batch with rows that fail", () => {
  const suite = faultSuite();
  let admin: Client;
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    admin = await suite.connect();
    backend = await suite.open({ retryTimeoutMs: 5_000, batch: { inFlight: 1 } });
    await backend.store("warm", 1);
    // The trigger names no schema: it runs with the session's search path.
    await admin.query(`
      create table audit (task_id text);
      create function audit() returns trigger language plpgsql as $$
      begin
        if new.result::text like '"raise %' then
          raise exception 'refused by the application' using errcode = substring(new.result::text from 8 for 5), detail = 'a detail', hint = 'a hint';
        end if;
        insert into audit values (new.task_id);
        return new;
      end $$;
      create trigger audit before insert or update on kojin_results for each row execute function audit()`);
  });

  it.each(["P0001", "42P01", "42501", "42883", "23514", "40001", "57014", "55P03", "KJ001", "22023"])(
    "rejects only the row for which a trigger of the application raises %s",
    async (state) => {
      const values = Array.from({ length: 100 }, (_, index) => (index === 42 ? `raise ${state}` : "good"));
      const outcomes = await Promise.allSettled(
        values.map(async (value, index) => backend.store(`${state} ${index}`, value)),
      );
      expect(rejected(outcomes)).toEqual([42]);
      const [batched, alone] = [
        (outcomes[42] as PromiseRejectedResult).reason as Error,
        await backend.store(`${state} alone`, `raise ${state}`).catch((error: unknown) => error as Error),
      ];
      expect(batched.name).toBe((alone as Error).name);
      // If the time ends during an attempt, the earlier error is the cause of a cause.
      expect(rootOf(batched)).toMatchObject({
        code: state,
        detail: "a detail",
        hint: "a hint",
        message: "refused by the application",
      });
    },
    60_000,
  );

  it("stores the good rows in time among hundreds of bad ones over a slow link", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const far = await suite.open({ listen: false }, proxy.route(suite.server.url));
    await far.store("warm", 1);
    proxy.delayMs = 50;
    const isBad = (index: number): boolean => (index * 7) % 10 < 3;
    const outcomes = await Promise.allSettled(
      Array.from({ length: 1_000 }, async (_, index) =>
        far.store(`far ${index}`, isBad(index) ? "raise P0001" : "good"),
      ),
    );
    expect(rejected(outcomes)).toEqual(Array.from({ length: 1_000 }, (_, index) => index).filter(isBad));
    expect(far.stats().stores.statements).toBeLessThan(10);
    proxy.delayMs = 0;
    await far.close();
    await proxy.stop();
  });

  it("stores the other rows while dozens are locked, and those once they are free", async () => {
    await admin.query("begin");
    for (let index = 0; index < 40; index += 1)
      await backend.store(`locked ${index}`, "in a transaction", { client: admin });
    const locked = Promise.allSettled(
      Array.from({ length: 40 }, async (_, index) => backend.store(`locked ${index}`, "stored at last")),
    );
    const others = await Promise.allSettled(
      Array.from({ length: 400 }, async (_, index) => backend.store(`free ${index}`, index)),
    );
    expect(rejected(others)).toEqual([]);
    await eventually(() => expect(backend.stats().stores).toMatchObject({ queued: 40 }));
    const later = backend.store("locked 0", "the last call");
    await backend.store("meanwhile", 1);
    await admin.query("commit");
    expect(rejected(await locked)).toEqual([]);
    await later;
    expect(await backend.get("locked 39")).toBe("stored at last");
    expect(await backend.get("locked 0")).toBe("the last call");
    expect(backend.stats().stores).toMatchObject({ queued: 0, inFlight: 0 });
  });

  it("rejects only the store of a row that stays locked, and writes nothing of it later", async () => {
    await admin.query("begin");
    await backend.store("stays locked", "in a transaction", { client: admin });
    const ids = ["stays locked", ...Array.from({ length: 200 }, (_, index) => `beside ${index}`)];
    const outcomes = await Promise.allSettled(ids.map(async (id) => backend.store(id, 1)));
    await admin.query("rollback");
    expect(rejected(outcomes)).toEqual([0]);
    expect(outcomes[0]).toMatchObject({ reason: { code: "DATABASE", sqlState: "55P03", transient: true } });
    await backend.store("marker", 1);
    expect(await backend.get("stays locked")).toBeUndefined();
  });

  it("rejects only members of a group that stays locked", async () => {
    for (const groupId of ["locked", "free"]) await backend.initGroup(groupId, 5);
    await admin.query("begin");
    await backend.completeGroupMember("locked", "a", 1, { client: admin });
    const outcomes = await Promise.allSettled(
      ["locked", "free", "free"].map(async (groupId, index) => backend.completeGroupMember(groupId, `b ${index}`, 2)),
    );
    await admin.query("rollback");
    expect(outcomes).toMatchObject([
      { status: "rejected", reason: { sqlState: "55P03" } },
      { status: "fulfilled", value: 1 },
      { status: "fulfilled", value: 2 },
    ]);
    expect(await backend.getGroup("locked")).toMatchObject({ completed: 0 });
  });

  it("announces the rows that were stored one by one", async () => {
    const waiting = await suite.open();
    await waiting.ready();
    const waits = ["announced 0", "announced 1"].map(async (id) => waiting.wait(id, 20_000));
    await eventually(() => {
      const { queued, inFlight, statements } = waiting.stats().reads;
      expect({ queued, inFlight, hasRead: statements > 0 }).toEqual({ queued: 0, inFlight: 0, hasRead: true });
    });
    await Promise.allSettled([
      backend.store("announced 0", "good"),
      backend.store("announced 1", "good"),
      backend.store("announced 2", "raise P0001"),
    ]);
    expect(await Promise.all(waits)).toEqual(["good", "good"]);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });
});
