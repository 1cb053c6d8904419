import { connect } from "@nats-io/transport-node";
import { firstValueFrom, take, toArray } from "rxjs";
import { PostgresResultBackend } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { Subjects } from "../../lib/nats/options";
import { eventually } from "../support/eventually";
import { type NatsConnectionFacts, NatsServer } from "../support/nats-server";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";
import { describeWithNats } from "../support/where";

/** So long that no sweep runs: every result comes by a notification. */
const sweepIntervalMs = 600_000;

describeWithNats()("notifications over NATS", () => {
  const database = specDatabase("nats notifications");
  let server: NatsServer;
  beforeAll(async () => (server = await NatsServer.start()));
  afterAll(async () => server.stop());

  const open = async (name: string, notify: "off" | "trigger" = "off"): Promise<PostgresResultBackend> =>
    database.open({ notifier: nats({ servers: server.url, name }), notify, sweepIntervalMs, listen: true });
  const factsOf = async (name: string): Promise<NatsConnectionFacts> => {
    const facts = (await server.connections()).find((each) => each.name === name);
    if (facts === undefined) throw new Error(`${name} is not connected`);
    return facts;
  };
  const subjects = (): Subjects => new Subjects({ prefix: "kojin", shards: 256 }, database.schema);
  /** Opens a wait and resolves after its first read. */
  const openWait = async (backend: PostgresResultBackend, taskId: string): Promise<{ result: Promise<unknown> }> => {
    await backend.ready();
    const reads = backend.stats().reads.statements;
    const result = backend.wait(taskId, 20_000);
    await eventually(() => {
      const { statements, queued, inFlight } = backend.stats().reads;
      expect([statements > reads, queued, inFlight]).toEqual([true, 0, 0]);
    });
    return { result };
  };

  it("wake waits for results and for groups, and every stream", async () => {
    const [waiting, storing] = [await open("streams waiting"), await open("streams storing")];
    await waiting.ready();
    const everything = firstValueFrom(waiting.results$<string>().pipe(take(2), toArray()));
    const completion = firstValueFrom(waiting.groupCompletions$());
    const { result } = await openWait(waiting, "single");
    const members = firstValueFrom(waiting.groupMembers$("group").pipe(toArray()));
    const group = waiting.waitGroup("group", 20_000);
    await storing.store("single", "one");
    await storing.fail("other", new Error("failed"));
    await storing.initGroup("group", ["a", "b"]);
    await storing.completeGroupMember("group", "a", 1);
    await storing.completeGroupMember("group", "b", 2);
    expect(await result).toBe("one");
    expect((await everything).map(({ taskId }) => taskId).sort()).toEqual(["other", "single"]);
    expect(await group).toEqual([1, 2]);
    expect(await members).toHaveLength(2);
    expect(await completion).toMatchObject({ groupId: "group", completed: 2, done: true });
    expect(waiting.stats()).toMatchObject({ status: "listening", caughtBySweep: 0, sweeps: 0 });
    expect(await database.listeners()).toEqual([]);
  });

  it("come without triggers, from writers whose statements are silent", async () => {
    const [waiting, storing] = [await open("no triggers waiting"), await open("no triggers storing")];
    const table = `"${database.schema}".kojin_results`;
    await database.sql(`alter table ${table} disable trigger all`);
    const { result } = await openWait(waiting, "without triggers");
    await storing.store("without triggers", 1);
    expect(await result).toBe(1);
    expect(waiting.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0 });
    expect((await waiting.health()).problems).toEqual([expect.stringContaining("kojin_results_foreign_update")]);
    await database.sql(`alter table ${table} enable trigger all`);
  });

  it("wake no session that LISTENs, unless the writer notifies Postgres too", async () => {
    const listening = await PostgresResultBackend.connect(database.url, { schema: database.schema, sweepIntervalMs });
    const silent = await open("silent");
    const loud = await open("loud", "trigger");
    const unheard = await openWait(listening, "silent");
    const heard = await openWait(listening, "loud");
    await silent.store("silent", 1);
    await loud.store("loud", 2);
    expect(await heard.result).toBe(2);
    // Anything stored before it would have been announced before it.
    expect(listening.stats()).toMatchObject({ waiting: 1, notifications: { relevant: 1 } });
    expect(await silent.wait("loud", 1_000)).toBe(2);
    await listening.store("silent", 3);
    expect(await unheard.result).toBe(3);
    await listening.close();
  });

  it("come for the shards of what is waited for, and for no others", async () => {
    const [waiting, storing] = [await open("sharded waiting"), await open("sharded storing")];
    const { result } = await openWait(waiting, "wanted");
    const shard = subjects().shard("tasks", subjects().shardOf("wanted"));
    await eventually(async () =>
      expect([...(await factsOf("sharded waiting")).subscriptions_list].sort()).toEqual(
        [subjects().rescan, shard].sort(),
      ),
    );
    const before = (await factsOf("sharded waiting")).out_msgs;
    const others = Array.from({ length: 2_000 }, (_, index) => `other ${index}`);
    await Promise.all(others.map(async (taskId) => storing.store(taskId, 1)));
    await storing.store("wanted", 1);
    expect(await result).toBe(1);
    await eventually(async () => expect((await factsOf("sharded storing")).in_msgs).toBeGreaterThan(200));
    const sameShard = others.filter((taskId) => subjects().shard("tasks", subjects().shardOf(taskId)) === shard).length;
    expect(sameShard).toBeLessThan(40);
    expect((await factsOf("sharded waiting")).out_msgs - before).toBeLessThanOrEqual(sameShard + 1);
    // A backend that only stores subscribes to nothing.
    expect((await factsOf("sharded storing")).subscriptions_list).toEqual([]);
  });

  it("come for everything by one subject while a stream wants everything, and for single shards before and after", async () => {
    const waiting = await open("widening");
    const { result } = await openWait(waiting, "narrow");
    const [everything, shard] = [subjects().all("tasks"), subjects().shard("tasks", subjects().shardOf("narrow"))];
    const subscribed = async (): Promise<string[]> =>
      [...(await factsOf("widening")).subscriptions_list].filter((each) => each !== subjects().rescan).sort();
    const stream = waiting.results$().subscribe();
    await eventually(async () => expect(await subscribed()).toEqual([everything]));
    stream.unsubscribe();
    await eventually(async () => expect(await subscribed()).toEqual([shard]), { timeoutMs: 20_000 });
    await waiting.store("narrow", 1);
    expect(await result).toBe(1);
    await eventually(async () => expect(await subscribed()).toEqual([]), { timeoutMs: 20_000 });
  });

  it("come in few messages where a process waits for much", async () => {
    const [waiting, storing] = [await open("busy waiting"), await open("busy storing")];
    const taskIds = Array.from({ length: 2_000 }, (_, index) => `busy ${index}`);
    const results = taskIds.map(async (taskId) => waiting.wait(taskId, 20_000));
    await eventually(async () =>
      expect((await factsOf("busy waiting")).subscriptions_list).toContain(subjects().all("tasks")),
    );
    await Promise.all(taskIds.map(async (taskId) => storing.store(taskId, taskId)));
    expect(await Promise.all(results)).toEqual(taskIds);
    // With a message for each shard there would be one for nearly each result.
    expect((await factsOf("busy waiting")).out_msgs).toBeLessThan(200);
  });

  it("miss nothing that is stored while a wait begins and its shard is not confirmed", async () => {
    const [waiting, storing] = [await open("racing waiting"), await open("racing storing")];
    await waiting.ready();
    const taskIds = Array.from({ length: 1_000 }, (_, index) => `race ${index}`);
    const stored = taskIds.map(async (taskId) => storing.store(taskId, taskId));
    const results = taskIds.map(async (taskId) => waiting.wait(taskId, 10_000));
    expect(await Promise.all(results)).toEqual(taskIds);
    await Promise.all(stored);
    expect(waiting.stats()).toMatchObject({ sweeps: 0, wokenBy: { deadline: 0, sweep: 0 } });
  });

  it("miss nothing that is announced while the subscription is on its way", async () => {
    const proxy = await TcpProxy.start(server.url);
    const notifier = nats({ servers: proxy.route(server.url) });
    const [waiting, storing] = [
      await database.open({ notifier, notify: "off", sweepIntervalMs }),
      await open("at once"),
    ];
    await waiting.ready();
    proxy.delayMs = 400;
    const { result } = await openWait(waiting, "on its way");
    const everything = firstValueFrom(waiting.groupCompletions$());
    await storing.store("on its way", 1);
    await storing.initGroup("empty", 0);
    expect(waiting.stats()).toMatchObject({ waiting: 1, feeds: 1 });
    expect(await result).toBe(1);
    expect(await everything).toMatchObject({ groupId: "empty" });
    expect(waiting.stats()).toMatchObject({ sweeps: 0, wokenBy: { reconnect: 1 } });
    await waiting.close();
    await proxy.stop();
  });

  it("are counted if they are invalid, and cause only reads if they are forged", async () => {
    const waiting = await open("forged");
    const { result } = await openWait(waiting, "forged");
    const forger = await connect({ servers: server.url });
    const subject = subjects().shard("tasks", subjects().shardOf("forged"));
    const garbage = ["", "{", "null", '{"v":2,"ids":["forged"]}', '{"v":1,"ids":[1]}', "x".repeat(200_000)];
    for (const payload of garbage) forger.publish(subject, payload);
    forger.publish(subject, new Uint8Array([0xff, 0x00, 0xfe]));
    forger.publish(subject, '{"v":1,"ids":["nobody waits","no\\u0000id","\\ud800"]}');
    forger.publish(subject, '{"v":1,"ids":[["forged","\\"a lie\\"",null,1,1]]}');
    forger.publish(subject, '{"v":1,"ids":["forged"]}');
    forger.publish(subjects().rescan, '{"v":1,"rescan":true}');
    await forger.flush();
    await eventually(() => expect(waiting.stats().notifications.invalid).toBe(garbage.length + 1));
    await eventually(() => expect(waiting.stats().notifications.relevant).toBe(2));
    expect(waiting.stats().waiting).toBe(1);
    await waiting.store("forged", "the truth");
    expect(await result).toBe("the truth");
    await forger.close();
  });

  it("keep 20 000 waits open for the price of their counters", async () => {
    const waiting = await open("many");
    await waiting.ready();
    const waits = Array.from({ length: 20_000 }, async (_, index) => waiting.wait(`many ${index}`, 30_000));
    const settled = Promise.allSettled(waits);
    await eventually(() => expect(waiting.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }), {
      timeoutMs: 20_000,
    });
    expect([...(await factsOf("many")).subscriptions_list].sort()).toEqual([
      subjects().rescan,
      subjects().all("tasks"),
    ]);
    await waiting.store("many 19999", 1);
    expect(await waits.at(-1)).toBe(1);
    await waiting.close();
    await settled;
  });
});
