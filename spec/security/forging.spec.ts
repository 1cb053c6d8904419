import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type Client, escapeIdentifier } from "pg";
import type { GroupProgress, PostgresResultBackend, TaskOutcome } from "kojin-postgres";
import { channelOf, decodePayload } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";
import { garbage } from "./support/garbage";
import { Logins } from "./support/logins";

const seed = Date.now() % 0x7fff_ffff;
const sweepIntervalMs = 600_000;

describe("a role without any right, which can connect and so notify", () => {
  const database = specDatabase("forging");
  const logins = new Logins(database);
  const channel = channelOf(database.schema);
  const delayMs = 20;
  // Timers may fire a little early.
  const roundTripMs = 2 * delayMs - 2;
  const taskIds = ["awaited", "streamed", "awaited 2"];
  const groupIds = ["open", "unknown yet"];
  let strangerUrl: string;
  let stranger: Client;
  let proxy: TcpProxy;
  let owner: PostgresResultBackend;
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    strangerUrl = await logins.create("forger");
    stranger = await logins.connect(strangerUrl);
    proxy = await TcpProxy.start(database.url);
  });
  afterAll(async () => {
    await stranger.end();
    await proxy.stop();
  });
  beforeEach(async () => {
    owner = await database.open();
    // Reads take at least a known time, which bounds their number. Notifications arrive at once.
    proxy.delayMs = 0;
    backend = await database.open({ sweepIntervalMs, listen: { connection: database.url } }, proxy.route(database.url));
    await backend.ready();
  });

  /** Sends payloads in one transaction per chunk, or one per payload. */
  async function send(payloads: readonly string[], chunk = payloads.length): Promise<void> {
    for (let start = 0; start < payloads.length; start += chunk) {
      await stranger.query("select pg_notify($1, payload) from unnest($2::text[]) as payload", [
        channel,
        payloads.slice(start, start + chunk),
      ]);
    }
  }

  /** Opens waits of every kind. `settled` lists those that have ended in any way. */
  async function openWaits(prefix: string): Promise<{ settled: string[]; finish: () => Promise<void> }> {
    const settled: string[] = [];
    const open = <T>(what: string, wait: Promise<T>): Promise<T> => {
      wait.then(
        () => settled.push(what),
        () => settled.push(what),
      );
      return wait;
    };
    const name = (id: string): string => `${prefix} ${id}`;
    await owner.initGroup(name("open"), 2);
    await owner.completeGroupMember(name("open"), "a", 1);
    const tasks = taskIds.map((id) => open(id, backend.wait<string>(name(id), Infinity)));
    const groups = groupIds.map((id) => open(id, backend.waitGroup<number>(name(id), Infinity)));
    await heard(`${prefix} opened`);
    expect(backend.stats()).toMatchObject({ waiting: 3, waitingGroups: 2 });
    const finish = async (): Promise<void> => {
      const before = backend.stats().wokenBy.notification;
      for (const id of taskIds) await owner.store(name(id), `real ${id}`);
      await owner.completeGroupMember(name("open"), "b", 2);
      await owner.initGroup(name("unknown yet"), 1);
      await owner.completeGroupMember(name("unknown yet"), "a", 3);
      expect(await Promise.all(tasks)).toEqual(taskIds.map((id) => `real ${id}`));
      expect(await Promise.all(groups)).toEqual([[1, 2], [3]]);
      expect(backend.stats().wokenBy.notification - before).toBe(5);
    };
    return { settled, finish };
  }

  const idle = async (): Promise<void> =>
    eventually(() => expect(backend.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }), { timeoutMs: 20_000 });

  /** Resolves when everything sent before has arrived and been read. */
  async function heard(prefix: string): Promise<void> {
    const marker = backend.wait(`${prefix} marker`, Infinity);
    // Its first read is over, so only the notification, which comes after all earlier ones, can answer it.
    await idle();
    await owner.store(`${prefix} marker`, 1);
    await marker;
    await idle();
  }

  it("can read nothing", async () => {
    await expect(
      stranger.query(`select from ${escapeIdentifier(database.schema)}.kojin_results`),
    ).rejects.toMatchObject({
      code: "42501",
    });
  });

  it(`ends no wait and causes no query with 5000 invalid payloads (seed ${seed})`, async () => {
    const { settled, finish } = await openWaits("garbage");
    const payloads = garbage(
      5_000,
      seed,
      [...taskIds, ...groupIds].map((id) => `garbage ${id}`),
    );
    const [chunk, before] = [250, backend.stats()];
    await send(payloads, chunk);
    await heard("garbage");
    expect(settled).toEqual([]);
    // One read opens the wait for the marker, and one answers it.
    expect(backend.stats().reads.statements - before.reads.statements).toBe(2);
    // Equal payloads of a transaction are sent once, and the driver ignores an empty one.
    const counted = payloads.filter(
      (payload, index) =>
        payload !== "" &&
        decodePayload(payload) === undefined &&
        !payloads.slice(index - (index % chunk), index).includes(payload),
    );
    expect(counted.length).toBeGreaterThan(2_000);
    expect(backend.stats().notifications.invalid - before.notifications.invalid).toBe(counted.length);
    await finish();
  });

  it("ends no wait by naming what is waited for, whatever it says of it, and causes at most the reads that fit into the time", async () => {
    const { settled, finish } = await openWaits("named");
    proxy.delayMs = delayMs;
    const before = backend.stats().reads.statements;
    const startedAt = performance.now();
    for (let round = 0; round < 100; round += 1) {
      const forged = taskIds.map((id) => [
        `named ${id}`,
        '"forged"',
        round % 2 === 0 ? null : '{"message":"forged"}',
        Date.now() * 1_000 + round,
        round,
      ]);
      await send(
        [
          { v: 1, ids: taskIds.map((id) => `named ${id}`), round },
          { v: 1, ids: forged },
          ...["groups", "done", "members"].map((name) => ({
            v: 1,
            [name]: groupIds.map((id) => `named ${id}`),
            round,
          })),
        ].map((payload) => JSON.stringify(payload)),
      );
    }
    await heard("named");
    expect(settled).toEqual([]);
    // Two reads at a time, for tasks and for groups, each at least one round trip long, and the marker's two.
    const rounds = 1 + (performance.now() - startedAt) / roundTripMs;
    expect(backend.stats().reads.statements - before).toBeLessThanOrEqual(4 * rounds + 2);
    expect(backend.stats().reads.statements - before).toBeGreaterThan(2);
    proxy.delayMs = 0;
    await finish();
  });

  it("causes no more than a re-read in a second with a storm of rescans", async () => {
    const { settled, finish } = await openWaits("storm");
    const before = backend.stats().reads.statements;
    const startedAt = performance.now();
    for (let sent = 0; performance.now() - startedAt < 2_500; sent += 20)
      await send(
        Array.from({ length: 20 }, (_, index) => JSON.stringify({ v: 1, rescan: true, number: sent + index })),
      );
    await heard("storm");
    expect(settled).toEqual([]);
    // One at once and then one per second, for tasks and for groups, and the marker's two.
    const rescans = 2 + Math.floor((performance.now() - startedAt) / 1_000);
    expect(backend.stats().reads.statements - before).toBeLessThanOrEqual(2 * rescans + 2);
    expect(backend.stats().reads.statements - before).toBeGreaterThan(2);
    await finish();
  });

  it("has nothing emitted that is not stored, and nothing repeated that is", async () => {
    await owner.store("old", "stored");
    await owner.initGroup("old", 0);
    await heard("old");
    const outcomes: TaskOutcome<string>[] = [];
    const completions: GroupProgress[] = [];
    let errors = 0;
    const subscriptions = [
      backend.results$<string>().subscribe({ next: (outcome) => outcomes.push(outcome), error: () => (errors += 1) }),
      backend.groupCompletions$().subscribe({ next: (group) => completions.push(group), error: () => (errors += 1) }),
    ];
    await heard("before");
    const { settled, finish } = await openWaits("feeds");
    const before = backend.stats().reads.statements;
    const startedAt = performance.now();
    proxy.delayMs = delayMs;
    await send(garbage(1_000, seed, []), 100);
    const invented = (round: number): string[] =>
      Array.from({ length: 20 }, (_, index) => `invented ${round} ${index}`);
    const payloads = Array.from({ length: 500 }, (_, round) => [
      { v: 1, ids: invented(round) },
      { v: 1, ids: [[`invented ${round}`, '"forged"', null, round, round]] },
      { v: 1, done: invented(round) },
      { v: 1, members: invented(round) },
      { v: 1, done: groupIds.map((id) => `feeds ${id}`), round },
    ]).flat();
    await send(
      payloads.map((payload) => JSON.stringify(payload)),
      50,
    );
    await heard("feeds");
    expect({ settled, errors, completions }).toEqual({ settled: [], errors: 0, completions: [] });
    // A result stored within a round trip before the subscription may count as new.
    const seen = outcomes.map(({ taskId }) => taskId).filter((taskId) => taskId !== "old marker");
    expect(seen).toEqual(["before marker", "feeds opened marker", "feeds marker"]);
    // A stream of everything reads invented ids too: a thousand per read, or as many as arrive while two reads are in
    // flight.
    const rounds = 1 + (performance.now() - startedAt) / roundTripMs;
    expect(backend.stats().reads.statements - before).toBeLessThanOrEqual(4 * rounds + 2);
    proxy.delayMs = 0;

    await send(['{"v":1,"ids":["old"]}', '{"v":1,"done":["old"]}']);
    await heard("repeated");
    expect(outcomes.at(-2)?.taskId).toBe("feeds marker");
    await finish();
    await eventually(() =>
      expect(completions.map(({ groupId }) => groupId)).toEqual(["feeds open", "feeds unknown yet"]),
    );
    for (const subscription of subscriptions) subscription.unsubscribe();
  });

  it("has nothing remembered of the ids that it invents", async () => {
    const subscriptions = [backend.results$().subscribe(), backend.groupCompletions$().subscribe()];
    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    const heapMegabytes = (): number => {
      collectGarbage();
      return process.memoryUsage().heapUsed / 1e6;
    };
    const inventOf = async (from: number, count: number): Promise<void> => {
      const filler = "x".repeat(480);
      for (let number = from; number < from + count; number += 25) {
        const ids = Array.from({ length: 25 }, (_, round) =>
          Array.from({ length: 5 }, (_each, index) => `${number + round} ${index} ${filler}`),
        );
        await send(
          ids.flatMap((each) => ["ids", "done", "members"].map((name) => JSON.stringify({ v: 1, [name]: each }))),
        );
      }
      await heard(`invented from ${from}`);
    };
    await inventOf(0, 500);
    const before = heapMegabytes();
    const relevant = backend.stats().notifications.relevant;
    await inventOf(1_000, 5_000);
    // 25 000 ids of 490 bytes under each of three names: each list has 12 MB.
    expect(backend.stats().notifications.relevant - relevant).toBeGreaterThanOrEqual(75_000);
    expect(heapMegabytes() - before).toBeLessThan(6);
    for (const subscription of subscriptions) subscription.unsubscribe();
  });

  it("cannot see on which channel heartbeats arrive", async () => {
    const { rows: own } = await stranger.query("select pg_listening_channels() as channel");
    expect(own).toEqual([]);
    const [pid] = await database.listeners();
    const { rows } = await stranger.query("select query, state from pg_stat_activity where pid = $1", [pid]);
    expect(rows).toEqual([{ query: "<insufficient privilege>", state: null }]);
  });

  it("is believed where results travel in notifications, which is why they do not by default", async () => {
    const trusting = await database.open({ inlineResultBytes: 1_000, sweepIntervalMs });
    await trusting.ready();
    const waits = trusting.wait("trusting", Infinity);
    await eventually(() => expect(trusting.stats()).toMatchObject({ waiting: 1, reads: { queued: 0, inFlight: 0 } }));
    // A time before the wait began would cause a read.
    const [clock] = await database.sql<{ now: string }>(
      "select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as now",
    );
    await send([JSON.stringify({ v: 1, ids: [["trusting", '"forged"', null, Number(clock?.now), 1]] })]);
    expect(await waits).toBe("forged");
    expect(await trusting.get("trusting")).toBeUndefined();
  });
});
