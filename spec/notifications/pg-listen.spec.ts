import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import createSubscriber, { type Options, type Subscriber } from "pg-listen";
import { Database } from "../../lib/database/database";
import { SessionConfig } from "../../lib/database/session-config";
import { channelOf, type Notification } from "../../lib/notifications/payload";
import { ListenConnection } from "../../lib/notifications/listen-connection";
import { PostgresNotifications } from "../../lib/notifications/postgres-notifications";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

/** A subscriber of pg-listen, and what it says. */
interface Witness {
  readonly subscriber: Subscriber;
  readonly events: string[];
  readonly payloads: unknown[];
  readonly errors: Error[];
}

// Pins the behaviour of pg-listen 1.7.0 that our code works around. An upgrade that changes it may simplify our code.
describe("pg-listen", () => {
  const ends: (() => Promise<unknown>)[] = [];
  // Before that of the database, which fails where something is left connected.
  afterEach(async () => {
    for (const end of ends.splice(0).toReversed()) await end();
  });
  const database = specDatabase("pg-listen");
  let proxy: TcpProxy;
  beforeEach(async () => {
    proxy = await TcpProxy.start(database.url);
    ends.push(async () => proxy.stop());
  });

  const notify = async (channel: string, payload: string): Promise<unknown> =>
    database.sql("select pg_notify($1, $2)", [channel, payload]);

  function subscribe(options: Options, url = proxy.route(database.url)): Witness {
    const subscriber = createSubscriber({ connectionString: url }, { paranoidChecking: false, ...options });
    const witness: Witness = { subscriber, events: [], payloads: [], errors: [] };
    subscriber.events.on("connected", () => witness.events.push("connected"));
    subscriber.events.on("reconnect", () => witness.events.push("reconnect"));
    subscriber.events.on("notification", ({ payload }) => witness.payloads.push(payload));
    subscriber.events.on("error", (error) => {
      witness.events.push("error");
      witness.errors.push(error);
    });
    ends.push(async () => {
      // Not awaited: it may never settle. What is cut, or terminated, after it does not come back.
      void subscriber.close().catch(() => undefined);
      proxy.cut();
      await database.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1", [
        `spec pg-listen ${process.pid}%`,
      ]);
    });
    return witness;
  }

  /** Our one connection over it, and what it says. */
  async function open(
    channel: string,
    life = new AbortController(),
  ): Promise<{ connection: ListenConnection; lost: Error[]; heard: string[] }> {
    const [lost, heard]: [Error[], string[]] = [[], []];
    const connection = await ListenConnection.open(
      new SessionConfig(database.pool, proxy.route(database.url), "listener").resolve(),
      channel,
      life,
      (_channel, payload) => void heard.push(payload),
    );
    life.signal.addEventListener("abort", () => lost.push(life.signal.reason as Error));
    ends.push(async () => connection.dispose());
    return { connection, lost, heard };
  }

  /** Our supervisor over it. Heartbeats go by a pool that has no proxy before it. */
  function supervise(): { notifications: PostgresNotifications; heard: Notification[] } {
    const silent = { info: (): void => undefined, warn: (): void => undefined, error: (): void => undefined };
    const notifications = new PostgresNotifications({
      config: new SessionConfig(database.pool, proxy.route(database.url), "listener"),
      schema: database.schema,
      database: new Database(database.pool, database.schema),
      logger: silent,
      times: { heartbeatMs: 200, heartbeatTimeoutMs: 300, selfTestMs: 2_000 },
    });
    const heard: Notification[] = [];
    notifications.notifications$.subscribe((notification) => heard.push(notification));
    ends.push(async () => notifications.close());
    notifications.demand();
    return { notifications, heard };
  }

  const untilListening = async (notifications: PostgresNotifications): Promise<void> =>
    eventually(() => expect(notifications.report.status).toBe("listening"), { timeoutMs: 15_000 });

  function lose(): void {
    proxy.mode = "refuse";
    proxy.cut();
  }

  describe("when it loses its connection", () => {
    it.each([1, 2, 3])("makes one attempt less than its retryLimit of %i", async (retryLimit) => {
      const { subscriber, events } = subscribe({ retryLimit, retryInterval: 1 });
      await subscriber.connect();
      lose();
      await eventually(() => expect(events.at(-1)).toBe("error"));
      const attempts = Array.from({ length: retryLimit - 1 }, () => "reconnect");
      expect(events).toEqual(["connected", ...attempts, "error"]);
    });

    it("so with a limit of 1 tells of the loss at once, which a connection of ours does exactly once", async () => {
      const { lost } = await open("spec_lost");
      const [listener] = await database.listeners();
      await database.sql("select pg_terminate_backend($1)", [listener]);
      await eventually(() => expect(lost).toHaveLength(1));
      proxy.cut();
      const other = await open("spec_marker");
      await notify("spec_marker", "marker");
      await eventually(() => expect(other.heard).toEqual(["marker"]));
      expect(lost).toHaveLength(1);
      // No session has come back unnoticed.
      expect(await database.listeners()).toHaveLength(1);
    });

    it("is dead for good when that lasts longer than its retryTimeout; the supervisor goes on", async () => {
      const { subscriber, events } = subscribe({ retryTimeout: 100, retryInterval: 20 });
      await subscriber.connect();
      await subscriber.listenTo("spec_first");
      const { notifications, heard } = supervise();
      await untilListening(notifications);
      lose();
      await eventually(() => expect(events.at(-1)).toBe("error"));
      proxy.mode = "pass";
      await untilListening(notifications);
      await notify(channelOf(database.schema), '{"v":1,"ids":["after the outage"]}');
      await eventually(() => expect(heard.map(({ taskIds }) => taskIds)).toEqual([["after the outage"]]));
      // It still claims its channel, and so does nothing for it; another one it cannot get.
      expect(events.at(-1)).toBe("error");
      expect(subscriber.getSubscribedChannels()).toEqual(["spec_first"]);
      expect(subscriber.listenTo("spec_first")).toBeUndefined();
      await expect(subscriber.listenTo("spec_second")).rejects.toThrow();
      expect(await database.connections()).toHaveLength(1);
    });

    it("does not hear, nor say that it did not, what was sent before it came back", async () => {
      const { subscriber, events, payloads } = subscribe({ retryTimeout: 0, retryInterval: 20, parse: (text) => text });
      await subscriber.connect();
      // The first time it says so before it has been told what to listen to.
      expect([events, subscriber.getSubscribedChannels()]).toEqual([["connected"], []]);
      await subscriber.listenTo("spec_gap");
      lose();
      await eventually(() => expect(events).toContain("reconnect"));
      await notify("spec_gap", "lost");
      proxy.mode = "pass";
      await eventually(() => expect(events.at(-1)).toBe("connected"));
      await notify("spec_gap", "heard");
      await eventually(() => expect(payloads).toEqual(["heard"]));
      expect(events).not.toContain("error");
    });

    it("leaves a connection behind when it is closed meanwhile; the supervisor does not", async () => {
      const { subscriber, events, payloads } = subscribe({ retryTimeout: 0, retryInterval: 20, parse: (text) => text });
      await subscriber.connect();
      await subscriber.listenTo("spec_leak");
      const { notifications } = supervise();
      await untilListening(notifications);
      lose();
      await eventually(() => expect(events).toContain("reconnect"));
      await eventually(() => expect(notifications.report.status).not.toBe("listening"));
      await Promise.all([subscriber.close(), notifications.close()]);
      proxy.mode = "pass";
      await eventually(() => expect(events.at(-1)).toBe("connected"));
      await notify("spec_leak", "after close");
      await eventually(() => expect(payloads).toEqual(["after close"]));
      const names = (await database.connections()).map(({ application_name }) => application_name);
      expect(names).toEqual([expect.not.stringMatching(/ listener$/)]);
    });
  });

  describe("on a connection that has gone silent", () => {
    it("notices nothing, for all its checking; heartbeats notice", async () => {
      const { subscriber, events } = subscribe({ paranoidChecking: 50 });
      await subscriber.connect();
      const { notifications } = supervise();
      await untilListening(notifications);
      proxy.mode = "blackhole";
      await eventually(() => expect(notifications.report.problem).toContain("heartbeat"));
      expect(events).toEqual(["connected"]);
    });

    it("cannot be closed; a connection of ours is, by force", async () => {
      const { subscriber } = subscribe({});
      await subscriber.connect();
      const { connection, lost } = await open("spec_silent");
      proxy.mode = "blackhole";
      let isClosed = false;
      const closing = subscriber.close().finally(() => (isClosed = true));
      await connection.dispose();
      expect(isClosed).toBe(false);
      expect(lost).toEqual([]);
      proxy.cut();
      await closing;
    });

    it("waits for ever for it to begin; an attempt of ours can be called off", async () => {
      proxy.mode = "blackhole";
      const { subscriber, events } = subscribe({ retryLimit: 1 });
      let hasSettled = false;
      void subscriber.connect().then(
        () => (hasSettled = true),
        () => (hasSettled = true),
      );
      const controller = new AbortController();
      const opening = open("spec_never", controller);
      controller.abort(new Error("closed"));
      await expect(opening).rejects.toThrow("closed");
      expect([hasSettled, events]).toEqual([false, []]);
    });
  });

  describe("where the server does not answer at first", () => {
    it("rejects, and connects later all the same; an attempt of ours is over when it rejects", async () => {
      lose();
      const { subscriber, events } = subscribe({ retryTimeout: 0, retryInterval: 20 });
      await expect(subscriber.connect()).rejects.toThrow();
      await expect(open("spec_refused")).rejects.toThrow();
      await eventually(() => expect(events).toContain("reconnect"));
      proxy.mode = "pass";
      await eventually(() => expect(events.at(-1)).toBe("connected"));
      expect(await database.connections()).toHaveLength(1);
      expect(await database.listeners()).toEqual([]);
    });
  });

  describe("what it listens to", () => {
    it("counts a channel that was refused; a connection of ours whose channel is refused is given up", async () => {
      const { subscriber } = subscribe({ retryLimit: 1 });
      await subscriber.connect();
      await expect(subscriber.listenTo("")).rejects.toMatchObject({ code: "42601" });
      expect(subscriber.getSubscribedChannels()).toEqual([""]);
      expect(subscriber.listenTo("")).toBeUndefined();
      await expect(open("")).rejects.toMatchObject({ code: "42601" });
      await eventually(async () => expect(await database.listeners()).toEqual([]));
    });

    it("never hears a channel of more than 63 bytes; those of this library are shorter", async () => {
      const { subscriber, payloads } = subscribe({ parse: (text) => text });
      const name = `spec_${"x".repeat(65)}`;
      const byName: unknown[] = [];
      subscriber.notifications.on(name, (payload) => byName.push(payload));
      await subscriber.connect();
      await subscriber.listenTo(name);
      await expect(notify(name, "too long")).rejects.toMatchObject({ code: "22023" });
      await notify(name.slice(0, 63), "cut off");
      await eventually(() => expect(payloads).toEqual(["cut off"]));
      expect(byName).toEqual([]);
      const { heard } = await open(channelOf("x".repeat(63)));
      await notify(channelOf("x".repeat(63)), "whole");
      await eventually(() => expect(heard).toEqual(["whole"]));
    });

    it("reports a payload that is no JSON like the loss of the connection; here it is only counted", async () => {
      const { subscriber, events, errors, payloads } = subscribe({ retryLimit: 1 });
      await subscriber.connect();
      await subscriber.listenTo(channelOf(database.schema));
      const { notifications, heard } = supervise();
      await untilListening(notifications);
      await notify(channelOf(database.schema), "{not JSON");
      await notify(channelOf(database.schema), '{"v":1,"ids":["next"]}');
      await eventually(() => expect(payloads).toHaveLength(1));
      expect(events).toEqual(["connected", "error"]);
      expect(errors[0]?.message).toContain("parsing");
      await eventually(() => expect(heard.map(({ taskIds }) => taskIds)).toEqual([["next"]]));
      expect(notifications.invalid).toBe(1);
      expect(notifications.report).toMatchObject({ status: "listening", reconnects: 0 });
    });
  });

  describe("a process", () => {
    it.each([
      ["dies of", "an error event", 1],
      ["dies of", "a throwing handler", 1],
      ["survives the loss with", "this library", 0],
    ])("%s %s", async (_what, how, code) => {
      const child = fork(join(__dirname, "..", "fixtures", "loses-listener.ts"), [how], {
        execArgv: ["--import", "tsx"],
        env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
        stdio: ["ignore", "ignore", code === 0 ? "inherit" : "ignore", "ipc"],
      });
      expect(await once(child, "exit")).toEqual([code, null]);
    });
  });
});
