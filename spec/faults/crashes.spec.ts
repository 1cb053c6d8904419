import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

const patience = { timeoutMs: 30_000 };

describe("a server that crashes", () => {
  // Flushes uncommitted WAL every ten seconds only, so that a crash loses it.
  const suite = faultSuite({ wal_writer_delay: "10s" });
  const results = `${escapeIdentifier("public")}.kojin_results`;

  it("gives numbers of transactions out again, and streams emit what is stored under them", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const url = withParameter(proxy.route(suite.server.url), "application_name", "watching");
    const watching = await suite.open({ sweepIntervalMs: 500 }, url);
    const storing = await suite.open();
    const seen: string[] = [];
    watching.results$().subscribe({ next: ({ taskId }) => seen.push(taskId), error: () => undefined });
    await storing.store("before", 1);
    await eventually(() => expect(seen).toEqual(["before"]), patience);
    const client = await suite.connect();
    /** Waits until the stream has asked for new results. */
    const looked = async (): Promise<void> => {
      const { rows } = await client.query<{ now: string }>("select clock_timestamp()::text as now");
      const asked = `select from pg_stat_activity
        where application_name = 'watching' and query not like 'listen%' and query_start > $1`;
      await eventually(
        async () => expect((await client.query(asked, [rows[0]?.now])).rowCount).toBeGreaterThan(0),
        patience,
      );
    };
    await looked();

    let rolledBack = 0;
    for (let count = 0; count < 100; count += 1) {
      await client.query("begin");
      const { rows } = await client.query<{ xid: string }>("select pg_current_xact_id()::text as xid");
      await client.query("rollback");
      rolledBack = Number(rows[0]?.xid);
    }
    // Its snapshot includes them as ended transactions.
    await looked();
    await suite.server.stop("kill -9");
    proxy.mode = "refuse";
    await suite.server.start();
    const other = await suite.connect();
    const text = `insert into ${results} (task_id, result) values ($1, '1') returning stored_xid::text as xid`;
    const xids: number[] = [];
    for (let count = 0; count < 150; count += 1) {
      const { rows } = await other.query<{ xid: string }>(text, [`after ${count}`]);
      xids.push(Number(rows[0]?.xid));
    }
    expect(xids.at(0)).toBeLessThan(rolledBack);
    expect(xids.at(-1)).toBeGreaterThan(rolledBack);
    proxy.mode = "pass";
    await eventually(() => expect(seen).toHaveLength(151), patience);
    await proxy.stop();
  });
});
