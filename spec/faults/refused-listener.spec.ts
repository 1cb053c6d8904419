import { eventually } from "../support/eventually";
import { freeze } from "../support/processes";
import { faultSuite } from "./support/fault-suite";

const generous = { timeoutMs: 60_000 };

describe("a listener", () => {
  const suite = faultSuite();
  const listener = "select pid from pg_stat_activity where application_name like '%listener'";

  it("whose role may not connect is tried until it may; its waits are found by reading", async () => {
    const admin = await suite.connect();
    await admin.query("create role refused login password 'refused'");
    await admin.query("revoke connect on database postgres from public");
    const address = new URL(suite.server.url);
    address.username = "refused";
    address.password = "refused";
    const backend = await suite.open({ listen: { connection: address.href } });
    const waits = backend.wait("refused", 30_000);
    await backend.ready();
    expect((await backend.health()).problems).toEqual([expect.stringContaining("permission denied for database")]);
    await backend.store("refused", 1);
    expect(await waits).toBe(1);
    const held = backend.wait("granted", 120_000);
    await admin.query("grant connect on database postgres to refused");
    await eventually(() => expect(backend.stats().status).toBe("listening"), generous);
    await backend.store("granted", 1);
    expect(await held).toBe(1);
    await backend.close();
  });

  it("whose session stands still on the server is replaced", async () => {
    const [backend, admin] = [await suite.open({ sweepIntervalMs: 120_000 }), await suite.connect()];
    await backend.ready();
    const waits = backend.wait("frozen", 120_000);
    const { rows } = await admin.query<{ pid: number }>(listener);
    const thaw = freeze(rows[0]?.pid);
    try {
      await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reconnects: 1 }), generous);
      await backend.store("frozen", 1);
      expect(await waits).toBe(1);
    } finally {
      thaw();
    }
    await eventually(async () => expect((await admin.query(listener)).rows).toHaveLength(1), generous);
    await backend.close();
  });
});
