import { escapeIdentifier } from "pg";
import { firstValueFrom } from "rxjs";
import { channelOf } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { describeWithNats } from "../support/where";
import { type Heard, openWait, relaySuite, untilLeading } from "./support/relay-suite";

const payloadsOf = (heard: readonly Heard[], kind: string): string[] =>
  heard.filter(({ subject }) => subject.includes(`.${kind}`)).map(({ payload }) => payload);
const idsOf = (heard: readonly Heard[]): string[] =>
  payloadsOf(heard, "tasks")
    .flatMap((payload) => (JSON.parse(payload) as { ids: string[] }).ids)
    .sort();

// The statements are those of the Rust crate kojin-postgres 0.4, and statements typed into psql.
describeWithNats()("a relay", () => {
  const suite = relaySuite("relay");
  const { database, results } = suite;
  const groups = `${escapeIdentifier(database.schema)}.kojin_groups`;
  const tomorrow = new Date(Date.now() + 86_400_000);
  const complete = `insert into ${groups} (group_id, task_id, result, completed) values ($1, $2, $3, true) on conflict (group_id, task_id) do update set result = $3, completed = true`;

  it("wakes who waits by NATS when a foreign writer stores", async () => {
    const relay = suite.relay();
    await untilLeading(relay);
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "rust");
    await database.sql(
      `insert into ${results} (task_id, result, expires_at) values ($1, $2, $3) on conflict (task_id) do update set result = $2, expires_at = $3`,
      ["rust", '{"from": "Rust"}', tomorrow],
    );
    expect(await result).toEqual({ from: "Rust" });
    expect(waiting.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0, deadline: 0 });
    expect(relay.report).toMatchObject({ notifications: { ids: 1 }, ids: { ids: 1 }, terms: 1, unconfirmed: 0 });
    expect(relay.report.lastNotificationAgeMs).toBeLessThan(60_000);
  });

  it("wakes at the commit when a caller's own client stores in its transaction", async () => {
    await untilLeading(suite.relay());
    const [waiting, storing] = [await suite.waiting(), await suite.waiting({ notify: "trigger" })];
    const { result } = await openWait(waiting, "transaction");
    const client = await database.pool.connect();
    await client.query("begin");
    await storing.store("transaction", 7, { client });
    expect(await database.sql(`select from ${results} where task_id = 'transaction'`)).toEqual([]);
    await client.query("commit");
    client.release();
    expect(await result).toBe(7);
    expect(waiting.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0 });
  });

  it("tells of groups that statements of the crate complete", async () => {
    await untilLeading(suite.relay());
    const waiting = await suite.waiting();
    const done = firstValueFrom(waiting.groupCompletions$());
    const whole = waiting.waitGroup<number>("book", 60_000);
    await eventually(() => expect(waiting.stats().waitingGroups).toBe(1));
    for (const index of [0, 1])
      await database.sql(
        `insert into ${groups} (group_id, task_id, completed) values ($1, $1 || ':placeholder:' || $2, false) on conflict do nothing`,
        ["book", String(index)],
      );
    for (const member of ["a", "b"]) await database.sql(complete, ["book", member, "1"]);
    expect(await whole).toEqual([1, 1]);
    expect(await done).toMatchObject({ groupId: "book", total: 2, completed: 2, done: true });
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });

  it("hands on ids, and never a result that a notification holds", async () => {
    const heard = await suite.listen();
    const relay = suite.relay();
    await untilLeading(relay);
    await eventually(() => expect(payloadsOf(heard, "rescan")).toHaveLength(1));
    const client = await database.pool.connect();
    await client.query("begin");
    await client.query("set local kojin.inline_bytes = '4000'");
    await client.query(`insert into ${results} (task_id, result) values ('inline', '"a secret"')`);
    await client.query("commit");
    client.release();
    await database.sql("select pg_notify($1, $2)", [
      channelOf(database.schema),
      '{"v":1,"ids":["plain",["inline 2","\\"a secret\\"",null,1,1]]}',
    ]);
    await eventually(() => expect(payloadsOf(heard, "tasks").join()).toContain("inline 2"));
    expect(idsOf(heard)).toEqual(["inline", "inline 2", "plain"]);
    expect(JSON.stringify(heard)).not.toContain("secret");
  });

  it("hands on that there was too much to name, and what is no notification it counts and keeps to itself", async () => {
    const relay = suite.relay();
    await untilLeading(relay);
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "one of many");
    const heard = await suite.listen();
    await database.sql("select pg_notify($1, 'garbage')", [channelOf(database.schema)]);
    await database.sql(
      `insert into ${results} (task_id, result) select 'bulk ' || i, '1'::jsonb from generate_series(1, 20000) as i union all select 'one of many', '2'::jsonb`,
    );
    expect(await result).toBe(2);
    expect(payloadsOf(heard, "rescan")).toEqual(['{"v":1,"rescan":true}']);
    expect(payloadsOf(heard, "tasks")).toEqual([]);
    expect(relay.report).toMatchObject({
      invalid: 1,
      notifications: { rescan: 1 },
      rescans: { takeover: 1, announced: 1 },
    });
  });

  it("merges what comes while what it has told is not confirmed", async () => {
    const proxy = await TcpProxy.start(suite.nats.url);
    const relay = suite.relay({ servers: proxy.route(suite.nats.url), shards: 1 });
    await untilLeading(relay);
    await eventually(() => expect(relay.report).toMatchObject({ rescans: { takeover: 1 }, lagMs: 0 }));
    const heard = await suite.listen();
    proxy.delayMs = 300;
    const ids = Array.from({ length: 100 }, (_, index) => `later ${index}`);
    for (const id of ids) await database.sql(`insert into ${results} (task_id, result) values ($1, '1')`, [id]);
    await eventually(() => expect(idsOf(heard)).toEqual(ids.sort()));
    expect(payloadsOf(heard, "tasks").length).toBeLessThan(50);
    expect(relay.report.lagMs).toBeGreaterThan(0);
    proxy.delayMs = 0;
    await relay.close();
    await proxy.stop();
  });

  it("merges what comes at once", async () => {
    const heard = await suite.listen();
    const relay = suite.relay({ shards: 1 });
    await untilLeading(relay);
    const ids = Array.from({ length: 2_000 }, (_, index) => `merged ${index}`);
    const client = await database.pool.connect();
    await client.query("begin");
    for (const id of ids) await client.query(`insert into ${results} (task_id, result) values ($1, '1')`, [id]);
    await client.query("commit");
    client.release();
    await eventually(() => expect(relay.report.ids.ids).toBe(2_000));
    await eventually(() => expect(payloadsOf(heard, "tasks").join()).toContain('"merged 1999"'));
    expect(idsOf(heard)).toEqual(ids.sort());
    // One notification for each statement, and so 2 000 of them; a few messages.
    expect(relay.report.notifications.ids).toBe(2_000);
    expect(payloadsOf(heard, "tasks").length).toBeLessThan(500);
    await eventually(() => expect(relay.report).toMatchObject({ unpublished: 0, lagMs: 0 }));
  });

  it("takes no options that do not fit", () => {
    expect(() => suite.relay({ shards: 0 })).toThrow("shards: expected a whole number from 1 to 4096");
    expect(() => suite.relay({ servers: [] })).toThrow("servers: expected at least one address");
  });
});
