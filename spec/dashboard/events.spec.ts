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

describe("what the dashboard tells", () => {
  const started: Dashboard[] = [];
  let storing: PostgresResultBackend;
  let watching: PostgresResultBackend;

  // Before the hooks of the database, which close the backends: those are still open, and nothing of the dashboards may be left in them.
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

  /** Of the events of a dashboard on `watching`. */
  async function start(options: DashboardOptions = {}, times: Partial<DashboardTimes> = {}): Promise<string> {
    const all = { ...defaultDashboardTimes, tickMs: 20, groupsMs: 50, ...times };
    const dashboard = await startDashboard(watching, { port: 0, ...options }, all);
    started.push(dashboard);
    return `${dashboard.url}events`;
  }

  const stateOf = ({ data }: ServerEvent): DashboardState => JSON.parse(data) as DashboardState;

  /** Looks until the state is as wanted, and gives it, as it was sent. */
  async function look(events: string, isWanted: (state: DashboardState) => boolean): Promise<ServerEvent> {
    for await (const event of eventsOf(events)) if (event.type === "state" && isWanted(stateOf(event))) return event;
    throw new Error("The connection ended before the state was as wanted.");
  }

  const isReady = ({ status, groups }: DashboardState): boolean => status === "listening" && groups !== null;

  /** Looks as long as `work` takes, and until the state is as wanted. */
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

  it("is the listener, rates, open groups, and the latest results, failures and completed groups", async () => {
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
    // Two that are read together come in any order.
    expect(state.results.map(({ number }) => number)).toEqual([2, 1]);
    expect(state.results.map(({ taskId, isFailure }) => [taskId, isFailure]).sort()).toEqual([
      ["bad", true],
      ["good", false],
    ]);
    expect(state.groups).toContainEqual({ groupId: "half", total: 2, completed: 1, failed: 0, done: false });
    expect(state.history).toHaveLength(60);
    expect(state.heartbeatMs).toBeGreaterThan(0);
    expect(Math.abs(Date.now() - (state.results[0]?.seenAt ?? 0))).toBeLessThan(60_000);
    // A second later it is counted into the rate.
    await look(events, ({ resultsPerSecond }) => resultsPerSecond === 0.4);
  });

  it("is never a value, nor a message of a failure, unless that was asked for", async () => {
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

  it("is the beginning of a long value, cut between two characters", async () => {
    const store = async (): Promise<void> => storing.store("long", "🦊".repeat(1_000));
    const isThere = ({ results }: DashboardState): boolean => results.length > 0;
    const { results } = stateOf(await lookDuring(await start({ showResults: true }), store, isThere));
    expect(results[0]?.detail).toBe(`"${"🦊".repeat(149)}…`);
  });

  it("has the groups as they are now: new ones, full ones for a while, none that are past their deadline", async () => {
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

  it("names fifty groups, and says that there are more", async () => {
    const ids = Array.from({ length: 51 }, (_, index) => `group ${index + 10}`);
    await Promise.all(ids.map(async (groupId) => storing.initGroup(groupId, 1)));
    const events = await start();
    const { groups, hasMoreGroups } = stateOf(await look(events, isReady));
    expect(groups).toHaveLength(50);
    expect(hasMoreGroups).toBe(true);
    await storing.completeGroupMember("group 10", "t", 1);
    await look(events, (state) => !state.hasMoreGroups && state.groups?.at(-1)?.groupId === "group 60");
  });

  it("comes in events that are numbered, at each change, and in signs of life in between", async () => {
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

  it("is looked for once, whoever asks, and not at all when nobody does", async () => {
    const events = await start();
    await storing.initGroup("open", 1);
    expect(watching.stats()).toMatchObject({ feeds: 0, waitingGroups: 0, queries: 1 });
    const readers = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const reader = eventsOf(events);
        await reader.next();
        return reader;
      }),
    );
    await eventually(() => expect(watching.stats()).toMatchObject({ feeds: 2, waitingGroups: 1 }));
    for (const reader of readers.slice(1)) await reader.return(undefined);
    await storing.store("still there", 1);
    await look(events, ({ results }) => results[0]?.taskId === "still there");
    expect(watching.stats()).toMatchObject({ feeds: 2, waitingGroups: 1 });
    await readers[0]?.return(undefined);
    await eventually(() => expect(watching.stats()).toMatchObject({ feeds: 0, waitingGroups: 0 }));
    // What has been seen is still known to whoever comes later.
    expect(stateOf(await look(events, () => true)).results).toMatchObject([{ taskId: "still there" }]);
  });

  it("ends with the dashboard, for all, and leaves the backend alone", async () => {
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

  it("is refused to more than a hundred at once", async () => {
    const events = await start();
    const readers = Array.from({ length: 100 }, () => eventsOf(events));
    await Promise.all(readers.map(async (reader) => reader.next()));
    expect(await ask(events)).toMatchObject({ status: 503 });
    await Promise.all(readers.map(async (reader) => reader.return(undefined)));
    await eventually(async () => expect((await ask(events)).status).toBe(200));
  });

  it("says what is wrong, tries again, and no longer says so when it is mended", async () => {
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
    // When it is subscribed to again nobody tells, so one of these comes after that.
    const storingAgain = setInterval(() => void bare.store("at last", 1), 100);
    await mended;
    clearInterval(storingAgain);
  });
});
