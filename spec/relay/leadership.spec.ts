import { Client } from "pg";
import { eventually } from "../support/eventually";
import { describeWithNats } from "../support/where";
import { openWait, relaySuite, untilLeading, untilStandby } from "./support/relay-suite";

describeWithNats()("several relays on one schema", () => {
  const suite = relaySuite("relay leadership");
  const { database, results } = suite;

  const insert = async (taskId: string): Promise<unknown> =>
    database.sql(`insert into ${results} (task_id, result) values ($1, '1')`, [taskId]);
  const relaySessions = async (): Promise<number[]> =>
    (await database.connections()).filter((each) => each.application_name.endsWith(" relay")).map(({ pid }) => pid);

  it("tell of each result once, by one of them", async () => {
    const relays = [suite.relay(), suite.relay(), suite.relay()];
    await eventually(() => expect(relays.map(({ report }) => report.ok)).toEqual([true, true, true]));
    await eventually(() => expect(relays.filter(({ report }) => report.role === "leader")).toHaveLength(1));
    const heard = await suite.listen();
    for (let index = 0; index < 50; index += 1) await insert(`once ${index}`);
    await eventually(() => expect(JSON.stringify(heard)).toContain("once 49"));
    // What a second one had to say would be before this.
    await insert("marker");
    await eventually(() => expect(heard.at(-1)?.payload).toBe('{"v":1,"ids":["marker"]}'));
    const told = heard.flatMap(({ payload }) => (JSON.parse(payload) as { ids?: string[] }).ids ?? []);
    expect(told.filter((id) => id !== "marker").sort()).toEqual(
      Array.from({ length: 50 }, (_, index) => `once ${index}`).sort(),
    );
    // Who stands by listens to nothing: each listening connection costs each commit that notifies.
    expect(await database.listeners()).toHaveLength(1);
  });

  it("take over when the leader closes, and ask for what was stored in between", async () => {
    const [first, second] = [suite.relay(), suite.relay()];
    await eventually(() => expect([first, second].some(({ report }) => report.role === "leader")).toBe(true));
    const [leader, other] = first.report.role === "leader" ? [first, second] : [second, first];
    await Promise.all([untilLeading(leader), untilStandby(other)]);
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "in between");
    const closed = leader.close();
    await insert("in between");
    await closed;
    await untilLeading(other);
    expect(await result).toBe(1);
    expect(waiting.stats().wokenBy.sweep).toBe(0);
    expect(leader.report).toMatchObject({ ok: false, role: "closed", problems: ["The relay is closed."] });
    expect(other.report).toMatchObject({ terms: 1, rescans: { takeover: 1 } });
  });

  it("take turns when the leader loses the session that has the lock", async () => {
    const relays = [suite.relay(), suite.relay()];
    const untilBothAreWell = async (): Promise<void> =>
      eventually(() => {
        expect(relays.map(({ report }) => report.ok)).toEqual([true, true]);
        expect(relays.filter(({ report }) => report.role === "leader")).toHaveLength(1);
      });
    // Both have their sessions, so both lose one.
    await untilBothAreWell();
    const leader = relays.find(({ report }) => report.role === "leader");
    const heard = await suite.listen();
    const roles: string[] = [];
    leader?.changes$.subscribe(({ role }) => roles.push(role));
    for (const pid of await relaySessions()) await database.sql("select pg_terminate_backend($1)", [pid]);
    await eventually(() => expect(roles).toContain("standby"));
    const reconnects = (): number => relays.reduce((sum, { report }) => sum + report.leadership.reconnects, 0);
    await eventually(() => expect(reconnects()).toBe(2));
    await untilBothAreWell();
    await insert("by the next");
    await eventually(() => expect(heard.at(-1)?.payload).toContain("by the next"));
    expect(heard.filter(({ payload }) => payload.includes("by the next"))).toHaveLength(1);
    expect(reconnects()).toBe(2);
    expect(await database.listeners()).toHaveLength(1);
  });

  it("do not keep vacuum from its work: who stands by has no statement open", async () => {
    const relays = [suite.relay(), suite.relay()];
    await eventually(() => expect(relays.filter(({ report }) => report.ok)).toHaveLength(2));
    await eventually(async () => {
      const sessions = await database.sql(
        "select state, backend_xmin from pg_stat_activity where application_name like $1 and application_name like '% relay'",
        [`spec relay leadership ${process.pid}%`.slice(0, 50)],
      );
      expect(sessions).toEqual([
        { state: "idle", backend_xmin: null },
        { state: "idle", backend_xmin: null },
      ]);
    });
  });

  it("have one lock for each schema", async () => {
    const relay = suite.relay();
    await untilLeading(relay);
    const client = new Client({ connectionString: database.url });
    await client.connect();
    const lock = async (schema: string): Promise<unknown> =>
      (
        await client.query<{ got: boolean }>("select pg_try_advisory_lock(hashtextextended($1, 0)) as got", [
          `kojin-postgres relay ${schema}`,
        ])
      ).rows[0]?.got;
    expect(await lock(database.schema)).toBe(false);
    expect(await lock(`${database.schema} too`)).toBe(true);
    await relay.close();
    expect(await lock(database.schema)).toBe(true);
    await client.end();
  });
});
