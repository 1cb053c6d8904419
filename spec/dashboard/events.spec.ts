import { escapeIdentifier } from "pg";
import type { PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import {
  type Dashboard,
  type DashboardTimes,
  defaultDashboardTimes,
  startDashboard,
} from "../../lib/dashboard/dashboard";
import type { DashboardOptions } from "../../lib/dashboard/dashboard-options";
import type { DashboardState } from "../../lib/dashboard/monitor";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { ask, eventsOf, type ServerEvent } from "./support/requests";

describe("the events of the dashboard", () => {
  const started: Dashboard[] = [];
  let storing: PostgresResultBackend;
  let watching: PostgresResultBackend;

  // Runs before the hooks of the database, so that the backends are open and must be free of subscriptions.
  afterEach(async () => {
    for (const dashboard of started.splice(0)) await dashboard.close();
    await eventually(() => expect(watching.stats()).toMatchObject({ feeds: 0, waitingGroups: 0, waiting: 0 }));
    await database.sql(`truncate ${schema}.kojin_results, ${schema}.kojin_groups, ${schema}.kojin_group_state`);
  });
  const database = specDatabase("dashboard events");
  const schema = escapeIdentifier(database.schema);
  beforeEach(async () => {
    storing = await database.open();
    watching = await database.open();
  });

  /** Starts a dashboard on `watching`; gives the address of its events. */
  async function start(options: DashboardOptions = {}, times: Partial<DashboardTimes> = {}): Promise<string> {
    const all = { ...defaultDashboardTimes, tickMs: 20, groupsMs: 50, ...times };
    const dashboard = await startDashboard(watching, { port: 0, ...options }, all);
    started.push(dashboard);
    return `${dashboard.url}events`;
  }

  const stateOf = ({ data }: ServerEvent): DashboardState => JSON.parse(data) as DashboardState;

  /** Reads events until the state is as wanted. */
  async function look(events: string, isWanted: (state: DashboardState) => boolean): Promise<ServerEvent> {
    for await (const event of eventsOf(events)) if (event.type === "state" && isWanted(stateOf(event))) return event;
    throw new Error("The connection ended before the state was as wanted.");
  }

  const isReady = ({ status, groups }: DashboardState): boolean => status === "listening" && groups !== null;

  /** Reads events during `work`, and until the state is as wanted. */
  async function lookDuring(
    events: string,
    work: () => Promise<void>,
    isWanted: (state: DashboardState) => boolean,
  ): Promise<ServerEvent> {
    const wanted = look(events, isWanted);
    await look(events, isReady);
    await work();
    return wanted;
  }

  it("hold the listener, rates, open groups, and the latest results, failures and completed groups", async () => {
    const events = await start({}, { healthMs: 100 });
    await storing.initGroup("half", 2);
    const work = async (): Promise<void> => {
      await storing.completeGroupMember("half", "a", 1);
      await storing.initGroup("whole", 1);
      await storing.failGroupMember("whole", "a", new Error("no"));
      await storing.store("good", 1);
      await storing.fail("bad", new Error("no"));
    };
    const event = await lookDuring(
      events,
      work,
      (state) =>
        state.results.length === 2 &&
        state.completedGroups.length === 1 &&
        state.heartbeatMs !== null &&
        state.groups?.some(({ completed }) => completed === 1) === true,
    );
    const state = stateOf(event);
    expect(state).toMatchObject({
      status: "listening",
      problems: [],
      resultsSeen: 2,
      failuresSeen: 1,
      reconnects: 0,
      hasMoreGroups: false,
      showsResults: false,
      failures: [{ taskId: "bad", isFailure: true }],
      completedGroups: [{ groupId: "whole", total: 1, completed: 0, failed: 1, done: true }],
    });
    // Two results that are read together arrive in any order.
    expect(state.results.map(({ number }) => number)).toEqual([2, 1]);
    expect(state.results.map(({ taskId, isFailure }) => [taskId, isFailure]).sort()).toEqual([
      ["bad", true],
      ["good", false],
    ]);
    expect(state.groups).toContainEqual({ groupId: "half", total: 2, completed: 1, failed: 0, done: false });
    expect(state.history).toHaveLength(60);
    expect(state.heartbeatMs).toBeGreaterThan(0);
    expect(Math.abs(Date.now() - (state.results[0]?.seenAt ?? 0))).toBeLessThan(60_000);
    // The rate includes them a second later.
    await look(events, ({ resultsPerSecond }) => resultsPerSecond === 0.4);
  });

  it("hold no values or failure messages unless showResults is set", async () => {
    const secret = "s3cret";
    const store = async (): Promise<void> => {
      await storing.store("good", { token: secret });
      await storing.fail("bad", Object.assign(new RangeError(secret), { code: secret, details: { secret } }));
      await storing.initGroup("group", 1);
      await storing.completeGroupMember("group", "member", { token: secret });
    };
    const isAll = ({ results, completedGroups }: DashboardState): boolean =>
      results.length >= 2 && completedGroups.length > 0;
    const hidden = await lookDuring(await start(), store, isAll);
    expect(hidden.data).not.toContain(secret);
    expect(hidden.data).not.toContain("RangeError");
    await database.sql(`truncate ${schema}.kojin_groups, ${schema}.kojin_group_state`);
    const shown = stateOf(await lookDuring(await start({ showResults: true }), store, isAll));
    const details = shown.results.map(({ detail }) => detail);
    expect(details.sort()).toEqual([`RangeError: ${secret}`, `{"token":"${secret}"}`]);
  });

  it("hold the beginning of a long value, cut between two characters", async () => {
    const store = async (): Promise<void> => storing.store("long", "🦊".repeat(1_000));
    const isThere = ({ results }: DashboardState): boolean => results.length > 0;
    const { results } = stateOf(await lookDuring(await start({ showResults: true }), store, isThere));
    expect(results[0]?.detail).toBe(`"${"🦊".repeat(149)}…`);
  });

  it("hold open groups, completed ones for a while, and none that are past their deadline", async () => {
    const events = await start({}, { lingerMs: 300 });
    const idsOf = ({ groups }: DashboardState): unknown => groups?.map(({ groupId, done }) => [groupId, done]);
    await storing.initGroup("late", 1);
    await storing.initGroup("soon", 1);
    const seen: unknown[] = [];
    for await (const event of eventsOf(events)) {
      if (event.type !== "state" || !isReady(stateOf(event))) continue;
      const ids = JSON.stringify(idsOf(stateOf(event)));
      if (seen.at(-1) === ids) continue;
      seen.push(ids);
      if (seen.length === 1)
        await database.sql(`update ${schema}.kojin_group_state set expires_at = now() where group_id = 'late'`);
      if (seen.length === 2) await storing.completeGroupMember("soon", "t", 1);
      if (seen.length === 3) await storing.initGroup("new", 1);
      if (ids === '[["new",false]]') break;
    }
    expect(seen).toEqual([
      '[["late",false],["soon",false]]',
      '[["soon",false]]',
      '[["soon",true]]',
      '[["new",false],["soon",true]]',
      '[["new",false]]',
    ]);
  });

  it("name fifty groups, and say that there are more", async () => {
    const ids = Array.from({ length: 51 }, (_, index) => `group ${index + 10}`);
    await Promise.all(ids.map(async (groupId) => storing.initGroup(groupId, 1)));
    const events = await start();
    const { groups, hasMoreGroups } = stateOf(await look(events, isReady));
    expect(groups).toHaveLength(50);
    expect(hasMoreGroups).toBe(true);
    await storing.completeGroupMember("group 10", "t", 1);
    await look(events, (state) => !state.hasMoreGroups && state.groups?.at(-1)?.groupId === "group 60");
  });

  it("are numbered, sent at each change, with heartbeats in between", async () => {
    const events = await start({}, { heartbeatMs: 100, healthMs: 3_600_000 });
    const ids: string[] = [];
    let heartbeats = 0;
    for await (const { id, type, data } of eventsOf(events)) {
      if (type === "heartbeat") heartbeats += 1;
      if (type === "heartbeat") expect([id, data]).toEqual([undefined, ""]);
      if (type === "state") ids.push(id ?? "none");
      if (type === "state" && isReady(stateOf({ id, type, data }))) heartbeats = 0;
      if (heartbeats >= 3 && ids.length > 0) break;
    }
    const [run] = (ids[0] ?? "").split("-");
    expect(run).toMatch(/^[0-9a-f]{8}$/);
    expect(ids).toEqual(ids.map((_, index) => `${run}-${index + 1}`));
    const again = await look(events, () => true);
    expect(again.id).toMatch(new RegExp(`^${run}-\\d+$`));
    expect((await look(await start(), () => true)).id).not.toMatch(new RegExp(`^${run}-`));
  });

  it("need one set of subscriptions for all clients, and none without clients", async () => {
    const { queries } = watching.stats();
    const events = await start();
    await storing.initGroup("open", 1);
    expect(watching.stats()).toMatchObject({ feeds: 0, waitingGroups: 0, queries });
    const readers = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const reader = eventsOf(events);
        await reader.next();
        return reader;
      }),
    );
    await eventually(() => expect(watching.stats()).toMatchObject({ feeds: 3, waitingGroups: 0 }));
    for (const reader of readers.slice(1)) await reader.return(undefined);
    await storing.store("still there", 1);
    await look(events, ({ results }) => results[0]?.taskId === "still there");
    expect(watching.stats()).toMatchObject({ feeds: 3, waitingGroups: 0 });
    await readers[0]?.return(undefined);
    await eventually(() => expect(watching.stats()).toMatchObject({ feeds: 0, waitingGroups: 0 }));
    // Later clients still see earlier results.
    expect(stateOf(await look(events, () => true)).results).toMatchObject([{ taskId: "still there" }]);
  });

  it("end with the dashboard, which leaves the backend open", async () => {
    const events = await start();
    const reader = eventsOf(events);
    await reader.next();
    const ended = (async () => {
      while ((await reader.next()).done !== true) continue;
    })();
    await Promise.all([started[0]?.close(), started[0]?.close()]);
    await expect(ended).rejects.toMatchObject({ code: "ECONNRESET" });
    await expect(ask(events)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await eventually(() => expect(watching.stats()).toMatchObject({ feeds: 0, waitingGroups: 0 }));
    await watching.store("works", 1);
    expect(await watching.get("works")).toBe(1);
  });

  it("are refused to more than a hundred clients at once", async () => {
    const events = await start();
    const readers = Array.from({ length: 100 }, () => eventsOf(events));
    await Promise.all(readers.map(async (reader) => reader.next()));
    expect(await ask(events)).toMatchObject({ status: 503 });
    await Promise.all(readers.map(async (reader) => reader.return(undefined)));
    await eventually(async () => expect((await ask(events)).status).toBe(200));
  });

  it("name a problem until a retry succeeds", async () => {
    const bareSchema = `${database.schema} bare`;
    database.createSchema(bareSchema);
    const options: PostgresResultBackendOptions = { schema: bareSchema };
    const bare = await database.open(options);
    const times = { ...defaultDashboardTimes, tickMs: 20, groupsMs: 50, healthMs: 100 };
    const dashboard = await startDashboard(bare, { port: 0 }, times);
    started.push(dashboard);
    const events = `${dashboard.url}events`;
    const { problems } = stateOf(await look(events, (state) => state.problems.length > 0));
    expect(problems.join("\n")).toMatch(/migrate/);
    const mended = look(events, (state) => state.problems.length === 0 && isReady(state) && state.results.length > 0);
    await bare.migrate();
    // Nothing shows when the stream is subscribed to again, so results are stored until one arrives.
    const storingAgain = setInterval(() => void bare.store("at last", 1), 100);
    await mended;
    clearInterval(storingAgain);
  });
});
