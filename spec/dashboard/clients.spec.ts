import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { type Dashboard, startDashboard } from "../../lib/dashboard/dashboard";
import { type DashboardTimes, defaultDashboardTimes } from "../../lib/dashboard/handler";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { isWatched } from "./support/is-watched";
import { eventsOf } from "./support/requests";

describe("a client of the dashboard", () => {
  let dashboard: Dashboard;
  let watching: PostgresResultBackend;

  afterEach(async () => {
    await dashboard.close();
    await eventually(() => expect(isWatched(watching)).toBe(false));
    await database.sql(`truncate ${schema}.kojin_results, ${schema}.kojin_groups, ${schema}.kojin_group_state`);
  });
  const database = specDatabase("dashboard clients");
  const schema = escapeIdentifier(database.schema);

  async function start(times: Partial<DashboardTimes>): Promise<string> {
    watching = await database.open();
    dashboard = await startDashboard(watching, { port: 0, showResults: true }, { ...defaultDashboardTimes, ...times });
    return `${dashboard.url}events`;
  }

  /** A client that has sent its request and reads nothing of the answer. */
  async function stuckClient(events: string): Promise<IncomingMessage> {
    const asked = request(events, { agent: false }).on("error", () => undefined);
    asked.end();
    const [client] = (await once(asked, "response")) as [IncomingMessage];
    return client.on("error", () => undefined).pause();
  }

  it("that reads nothing is disconnected, and costs one event at most until then", async () => {
    const events = await start({ tickMs: 1, readMs: 1, heartbeatMs: 10, stallMs: 500 });
    const storing = await database.open();
    const long = "x".repeat(500);
    // With these, each state has over 100 KB, so that the buffers of the kernel fill in a few seconds.
    await Promise.all(Array.from({ length: 200 }, async (_, index) => storing.initGroup(`${index} ${long}`, 1)));
    const client = await stuckClient(events);
    await eventually(() => expect(isWatched(watching)).toBe(true));
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    let round = 0;
    await eventually(
      async () => {
        round += 1;
        const taskIds = Array.from({ length: 20 }, (_, index) => `${round} ${index} ${long}`.slice(0, 500));
        await Promise.all(taskIds.map(async (taskId) => storing.store(taskId, long)));
        expect(isWatched(watching)).toBe(false);
      },
      { timeoutMs: 60_000, intervalMs: 0 },
    );
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(100 * 2 ** 20);
    client.destroy();
  }, 90_000);

  it("that reads what it gets stays connected, however long nothing but heartbeats is sent", async () => {
    const events = await start({ heartbeatMs: 20, stallMs: 100, healthMs: 3_600_000 });
    let heartbeats = 0;
    for await (const { type } of eventsOf(events)) {
      if (type === "heartbeat") heartbeats += 1;
      if (heartbeats > 30) break;
    }
    expect(heartbeats).toBe(31);
  });
});
