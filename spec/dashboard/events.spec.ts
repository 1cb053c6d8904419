import { escapeIdentifier } from "pg";
import type { PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import { type Dashboard, startDashboard } from "../../lib/dashboard/dashboard";
import type { DashboardOptions } from "../../lib/dashboard/dashboard-options";
import { type DashboardTimes, defaultDashboardTimes } from "../../lib/dashboard/handler";
import type { DashboardState } from "../../lib/dashboard/monitor";
import { latestVersion } from "../../lib/schema/migration-files";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { isWatched } from "./support/is-watched";
import { ask, eventsOf, type ServerEvent } from "./support/requests";

describe("the events of the dashboard", () => {
  const started: Dashboard[] = [];
  let storing: PostgresResultBackend;
  let watching: PostgresResultBackend;

  // Runs before the hooks of the database, which close the backends.
  afterEach(async () => {
    for (const dashboard of started.splice(0)) await dashboard.close();
    await eventually(() => expect(isWatched(watching)).toBe(false));
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
    const all = { ...defaultDashboardTimes, tickMs: 20, readMs: 50, ...times };
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

  const isReady = ({ status, phase }: DashboardState): boolean => status === "listening" && phase === "ready";

  it("hold the latest results, failures and groups that were stored before, and rates", async () => {
    await storing.store("good", { a: 1 });
    await storing.fail("bad", new Error("no"));
    await storing.initGroup("half", 2, { deadlineMs: 60_000 });
    await storing.completeGroupMember("half", "a", 1);
    await storing.initGroup("whole", 1);
    await storing.failGroupMember("whole", "a", new Error("no"));
    await storing.initGroup("claimed", 1);
    await storing.completeGroupMember("claimed", "a", 1);
    await (await storing.claimGroup("claimed"))?.ack();
    await database.sql(
      `insert into ${schema}.kojin_results (task_id, result, expires_at) values ('expired', '1', now() - interval '1 hour')`,
    );
    const events = await start({}, { healthMs: 100 });
    const state = stateOf(
      await look(events, (each) => isReady(each) && each.heartbeatMs !== null && each.facts.expired !== undefined),
    );
    expect(state).toMatchObject({
      phase: "ready",
      problems: [],
      reconnects: 0,
      showsResults: false,
      facts: {
        database: new URL(database.url).pathname.slice(1),
        schema: database.schema,
        serverVersion: expect.stringMatching(/^\d+\.\d+$/) as string,
        schemaVersion: latestVersion,
        expired: 1,
        unclaimed: 1,
      },
      results: [
        { taskId: "bad", isFailure: true },
        { taskId: "good", isFailure: false, bytes: 25 },
      ],
      failures: [{ taskId: "bad", isFailure: true }],
      groups: {
        open: [{ groupId: "half", total: 2, completed: 1, failed: 0, doneAt: null, claim: "open" }],
        openCount: 1,
        done: [
          { groupId: "claimed", completed: 1, claim: "claimed" },
          { groupId: "whole", completed: 0, failed: 1, claim: "unclaimed" },
        ],
      },
    });
    expect(state.heartbeatMs).toBeGreaterThan(0);
    const times = [state.results?.[0]?.storedAt, state.groups?.open[0]?.createdAt, state.groups?.done[0]?.doneAt];
    for (const time of times) expect(Math.abs(Date.now() - (time ?? 0))).toBeLessThan(60_000);
    expect(Math.abs((state.groups?.open[0]?.expiresAt ?? 0) - Date.now() - 60_000)).toBeLessThan(60_000);
    expect(Math.abs((state.facts.expiredSince ?? 0) - Date.now() + 3_600_000)).toBeLessThan(60_000);
    // With the expired one.
    expect(state.resultsPerSecond).toBe(0.3);
  });

  it("follow what is stored, replaced and deleted", async () => {
    const events = await start();
    const idsOf = ({ results, failures }: DashboardState): string =>
      [results ?? [], failures].map((list) => list.map(({ taskId }) => taskId).join(" ")).join("; ");
    const steps: [() => Promise<unknown>, string][] = [
      [async () => storing.store("one", 1), "one; "],
      [async () => storing.fail("two", new Error("no")), "two one; two"],
      [async () => storing.store("one", 2), "one two; two"],
      [async () => storing.store("two", 2), "two one; "],
      [async () => storing.delete("two").then(async () => storing.store("three", 3)), "three one; "],
    ];
    const seen: string[] = [];
    let step = 0;
    for await (const event of eventsOf(events)) {
      if (event.type !== "state" || !isReady(stateOf(event))) continue;
      const ids = idsOf(stateOf(event));
      if (seen.at(-1) !== ids) seen.push(ids);
      const expected = steps[step - 1]?.[1] ?? "; ";
      if (ids !== expected) continue;
      const next = steps[step];
      if (next === undefined) break;
      step += 1;
      await next[0]();
    }
    // Not more than one state in between, when a deletion was read before the store.
    expect(seen.filter((ids) => ids !== "one; ")).toEqual([
      "; ",
      "two one; two",
      "one two; two",
      "two one; ",
      "three one; ",
    ]);
  });

  it("count what commits late, and each result once", async () => {
    const client = await database.pool.connect();
    try {
      await client.query("begin");
      await client.query(`insert into ${schema}.kojin_results (task_id, result) values ('late', '1')`);
      await storing.store("early", 1);
      const events = await start();
      const totalOf = ({ series }: DashboardState): number =>
        series.results.reduce<number>((sum, count) => sum + (count ?? 0), 0);
      const early = stateOf(await look(events, isReady));
      expect(early.results?.map(({ taskId }) => taskId)).toEqual(["early"]);
      expect(early.resultsPerSecond).toBe(0.1);
      await client.query("commit");
      const late = stateOf(await look(events, ({ results }) => results?.length === 2));
      expect(late.resultsPerSecond).toBe(0.2);
      expect(totalOf(late)).toBeLessThanOrEqual(2);
    } finally {
      client.release();
    }
  });

  it("hold no values or failure messages unless showResults is set", async () => {
    const secret = "s3cret";
    await storing.store("good", { token: secret });
    await storing.fail("bad", Object.assign(new RangeError(secret), { code: secret, details: { secret } }));
    await storing.initGroup("group", 1);
    await storing.completeGroupMember("group", "member", { token: secret });
    const hidden = await look(await start(), isReady);
    expect(stateOf(hidden).results).toHaveLength(2);
    expect(hidden.data).not.toContain(secret);
    expect(hidden.data).not.toContain("RangeError");
    const shown = stateOf(await look(await start({ showResults: true }), isReady));
    expect(shown.results?.map(({ detail }) => detail)).toEqual([`RangeError: ${secret}`, `{"token": "${secret}"}`]);
  });

  it("hold the beginning of a long value, cut between two characters, and nothing of a huge one", async () => {
    await storing.store("long", "🦊".repeat(1_000));
    await storing.store("huge", "x".repeat(1_000_000));
    const { results } = stateOf(await look(await start({ showResults: true }), isReady));
    expect(results?.map(({ taskId, detail }) => [taskId, detail])).toEqual([
      ["huge", undefined],
      ["long", `"${"🦊".repeat(149)}…`],
    ]);
  });

  it("hold the oldest of the open groups, and none that are past their deadline", async () => {
    const ids = Array.from({ length: 202 }, (_, index) => `group ${index + 100}`);
    await Promise.all(ids.map(async (groupId) => storing.initGroup(groupId, 1)));
    await database.sql(
      `update ${schema}.kojin_group_state set created_at = now() - interval '1 hour' where group_id = 'group 300'`,
    );
    await database.sql(`update ${schema}.kojin_group_state set expires_at = now() where group_id = 'group 301'`);
    const { groups } = stateOf(await look(await start(), isReady));
    expect(groups?.openCount).toBe(201);
    expect(groups?.open).toHaveLength(200);
    expect(groups?.open[0]?.groupId).toBe("group 300");
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

  it("need one set of reads for all clients, and none without clients", async () => {
    const { queries } = watching.stats();
    const events = await start({}, { idleMs: 3_600_000, healthMs: 3_600_000 });
    expect(watching.stats()).toMatchObject({ queries, status: "idle" });
    const readers = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const reader = eventsOf(events);
        await reader.next();
        return reader;
      }),
    );
    await look(events, isReady);
    // A check of the health, and the lists once or twice.
    expect(watching.stats().queries).toBeLessThan(queries + 40);
    for (const reader of readers.slice(1)) await reader.return(undefined);
    await storing.store("still there", 1);
    await look(events, ({ results }) => results?.[0]?.taskId === "still there");
    await readers[0]?.return(undefined);
    await eventually(() => expect(isWatched(watching)).toBe(false));
    const atEnd = watching.stats().queries;
    for (const taskId of ["a", "b", "c", "d"]) {
      await storing.store(taskId, 1);
      await storing.wait(taskId, 20_000);
    }
    expect(watching.stats().queries).toBe(atEnd);
    // Later clients still see earlier results at once.
    const { results } = stateOf(await look(events, () => true));
    expect(results?.map(({ taskId }) => taskId)).toContain("still there");
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

  it("say that the tables are missing, and what to do, until they are migrated", async () => {
    const bareSchema = `${database.schema} bare`;
    database.createSchema(bareSchema);
    const options: PostgresResultBackendOptions = { schema: bareSchema };
    const bare = await database.open(options);
    const times = { ...defaultDashboardTimes, tickMs: 20, readMs: 50, idleMs: 50, healthMs: 100 };
    const dashboard = await startDashboard(bare, { port: 0 }, times);
    started.push(dashboard);
    const events = `${dashboard.url}events`;
    const { problems } = stateOf(
      await look(events, ({ phase, facts }) => phase === "unmigrated" && facts.schemaVersion === 0),
    );
    expect(problems.join("\n")).toMatch(/has not been migrated.*kojin-postgres migrate --schema/);
    const mended = look(
      events,
      (state) => isReady(state) && state.problems.length === 0 && state.results?.length === 1,
    );
    await bare.migrate();
    await bare.store("at last", 1);
    await mended;
  });
});
