import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { Listener } from "./support/events";
import { frameworks, listen, type RunningServer } from "./support/servers";

describe.each(Object.keys(frameworks))("with %s", (framework) => {
  const database = specDatabase(`http ${framework}`);
  let [storing, serving]: PostgresResultBackend[] = [];
  let server: RunningServer;
  const listeners: Listener[] = [];

  const start = async (waitMs: number): Promise<void> => {
    [storing, serving] = [await database.open(), await database.open()];
    await serving.ready();
    const sse = { retryMs: 10 };
    server = await listen((await frameworks[framework]?.({ backend: serving, waitMs, sse })) ?? fail(framework));
  };
  const follow = (path: string): Listener => {
    const listener = new Listener(`${server.url}/api${path}`);
    listeners.push(listener);
    return listener;
  };
  const store = async (taskId: string, value: unknown): Promise<void> => storing?.store(taskId, value);
  const waiting = (): number => serving?.stats().waiting ?? NaN;
  const watching = (): number => serving?.stats().waitingGroups ?? NaN;

  afterEach(async () => {
    for (const { source } of listeners.splice(0)) source.close();
    await server.stop();
  });

  it("answers with the result, at once or once it is stored", async () => {
    await start(20_000);
    await store("a/ü", { n: 1 });
    const stored = await fetch(`${server.url}/api/tasks/${encodeURIComponent("a/ü")}`);
    expect([stored.status, stored.headers.get("content-type"), stored.headers.get("cache-control")]).toEqual([
      200,
      "application/json",
      "no-store",
    ]);
    expect(await stored.json()).toEqual({ n: 1 });
    const later = fetch(`${server.url}/api/tasks/b`);
    await eventually(() => expect(waiting()).toBe(1));
    await store("b", null);
    expect(await (await later).json()).toBeNull();
  });

  it("answers where and when to ask again", async () => {
    await start(0);
    const response = await fetch(`${server.url}/api/tasks/a%2Fb?x=1`);
    expect(response.status).toBe(202);
    expect(response.headers.get("location")).toBe("/api/tasks/a%2Fb?x=1");
    expect(response.headers.get("retry-after")).toBe("1");
    expect(await response.json()).toEqual({ taskId: "a/b", status: "pending" });
  });

  it("waits no longer than the client prefers", async () => {
    await start(60_000);
    const headers = [
      ["Prefer", "respond-async"],
      ["prefer", 'Wait="0"'],
    ] as const;
    const response = await fetch(`${server.url}/api/tasks/unhurried`, { headers: headers.map(([...pair]) => pair) });
    expect([response.status, response.headers.get("preference-applied")]).toEqual([202, "wait=0"]);
  });

  it("answers with a problem if the task failed", async () => {
    await start(0);
    await storing?.fail("failed", new TypeError("the password is 1234"));
    const response = await fetch(`${server.url}/api/tasks/failed`);
    expect([response.status, response.headers.get("content-type")]).toEqual([500, "application/problem+json"]);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ status: 500, code: "TASK_FAILED" });
    expect(text).not.toMatch(/TypeError|1234/);
  });

  it("ends the wait when the client disconnects", async () => {
    await start(60_000);
    const gone = new AbortController();
    const response = fetch(`${server.url}/api/tasks/never`, { signal: gone.signal }).catch((error: unknown) => error);
    await eventually(() => expect(waiting()).toBe(1));
    gone.abort();
    expect(await response).toMatchObject({ name: "AbortError" });
    await eventually(() => expect(waiting()).toBe(0));
  });

  it("streams a group until it is done, and then tells the client not to reconnect", async () => {
    await start(0);
    await storing?.initGroup("g", 3);
    const listener = follow("/groups/g/events");
    const states = [{ completed: 0 }, { completed: 1 }, { completed: 1, failed: 1 }, { completed: 2, done: true }];
    const steps = [
      async () => storing?.completeGroupMember("g", "a", 1),
      async () => storing?.failGroupMember("g", "b", new Error("no")),
      async () => storing?.completeGroupMember("g", "c", 1),
    ];
    for (const [index, state] of states.entries()) {
      await eventually(() => expect(listener.events).toHaveLength(index + 1));
      expect(listener.events[index]?.data).toMatchObject({ groupId: "g", total: 3, ...state });
      await steps[index]?.();
    }
    await eventually(() => expect(listener.isClosed).toBe(true));
    expect(listener.names).toEqual(["progress", "progress", "progress", "done"]);
    expect([listener.opened, watching()]).toEqual([1, 0]);
  });

  it("streams the outcome of a task, and then tells the client not to reconnect", async () => {
    await start(0);
    const [good, bad] = [follow("/tasks/good/events"), follow("/tasks/bad/events")];
    await eventually(() => expect(waiting()).toBe(2));
    await store("good", { n: 1 });
    await storing?.fail("bad", new TypeError("no"));
    await eventually(() => expect([good.isClosed, bad.isClosed]).toEqual([true, true]));
    expect(good.events).toEqual([{ event: "result", id: "settled", data: { n: 1 } }]);
    expect(bad.names).toEqual(["failure"]);
    expect(bad.events[0]?.data).toMatchObject({ code: "TASK_FAILED", failure: { name: "TypeError", message: "no" } });
  });

  it("unsubscribes when the client disconnects", async () => {
    await start(0);
    await storing?.initGroup("open", 2);
    const sources = [follow("/groups/open/events"), follow("/groups/unknown/events"), follow("/tasks/never/events")];
    await eventually(() => expect([watching(), waiting(), sources[0]?.names]).toEqual([2, 1, ["progress"]]));
    for (const { source } of sources) source.close();
    await eventually(() => expect([watching(), waiting()]).toEqual([0, 0]));
  });
});

function fail(framework: string): never {
  throw new Error(`There is no server for ${framework}.`);
}
