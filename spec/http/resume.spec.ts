import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { Listener } from "./support/events";
import { frameworks, listen, type RunningServer } from "./support/servers";

describe("an EventSource", () => {
  const database = specDatabase("resume");
  let server: RunningServer;
  let source: Listener | undefined;

  const serve = async (backend: PostgresResultBackend, port?: number): Promise<void> => {
    const created = await frameworks["express"]?.({ backend, waitMs: 0, sse: { retryMs: 20 } });
    if (created === undefined) throw new Error("There is no such framework.");
    server = await listen(created, port);
  };
  const ids = (): unknown[] => source?.events.map(({ id }) => id) ?? [];

  afterEach(async () => {
    source?.source.close();
    await server.stop();
  });

  it("resumes across restarts of the server, without seeing a state twice or missing the last one", async () => {
    const storing = await database.open();
    await storing.initGroup("g", 30);
    await serve(await database.open());
    source = new Listener(`${server.url}/api/groups/g/events`);
    for (let restart = 1; restart <= 5; restart += 1) {
      const before = source.events.length;
      await storing.completeGroupMember("g", `seen ${restart}`, 1);
      await eventually(() => expect(source?.events.length).toBeGreaterThan(before));
      await server.stop();
      // Every second time, the group changes during the restart.
      if (restart % 2 === 0) await storing.failGroupMember("g", `missed ${restart}`, 1);
      await serve(await database.open(), server.port);
      await eventually(() => expect(source?.opened).toBe(restart + 1));
    }
    await server.stop();
    const missed = Array.from({ length: 23 }, (_, index) => `last ${index}`);
    await Promise.all(missed.map(async (taskId) => storing.completeGroupMember("g", taskId, 1)));
    await serve(await database.open(), server.port);
    await eventually(() => expect(source?.isClosed).toBe(true));
    expect(source.events.at(-1)).toMatchObject({ event: "done", data: { total: 30, completed: 28, failed: 2 } });
    expect(source.names.filter((name) => name === "done")).toHaveLength(1);
    expect(new Set(ids()).size).toBe(ids().length);
  });

  it("reconnects to the next server when the backend of the first one closes", async () => {
    const [storing, closing, next] = [await database.open(), await database.open(), await database.open()];
    await storing.initGroup("h", 2);
    await serve(closing);
    source = new Listener(`${server.url}/api/groups/h/events`);
    await eventually(() => expect(source?.names).toEqual(["progress"]));
    await closing.close();
    await eventually(() => expect(source?.names).toContain("problem"));
    await server.stop();
    await serve(next, server.port);
    await eventually(() => expect(next.stats().waitingGroups).toBe(1));
    await storing.completeGroupMember("h", "a", 1);
    await eventually(() => expect(source?.events.at(-1)?.data).toMatchObject({ completed: 1 }));
    await storing.completeGroupMember("h", "b", 1);
    await eventually(() => expect(source?.isClosed).toBe(true));
    expect(source.names.filter((name) => name !== "problem")).toEqual(["progress", "progress", "done"]);
  });

  it("goes on with the chunks of a task where it was, across restarts of the server and of the task", async () => {
    const storing = await database.open();
    await serve(await database.open());
    source = new Listener(`${server.url}/api/tasks/streamed/chunks`);
    for (let round = 1; round <= 4; round += 1) {
      const before = source.events.length;
      for (let chunk = 1; chunk <= 3; chunk += 1) await storing.emit("streamed", `seen ${round}.${chunk}`);
      await eventually(() => expect(source?.events.length).toBe(before + 3));
      await server.stop();
      for (let chunk = 1; chunk <= 3; chunk += 1) await storing.emit("streamed", `missed ${round}.${chunk}`);
      // The task restarts while the client is away.
      if (round === 3) await storing.emit("streamed", "again", { restart: true });
      await serve(await database.open(), server.port);
      await eventually(() => expect(source?.events.length).toBeGreaterThan(before + 3));
    }
    await storing.store("streamed", { words: 2 });
    await eventually(() => expect(source?.isClosed).toBe(true));
    const chunks = (from: number, attempt: number): string[] =>
      Array.from({ length: from }, (_, i) => `${attempt}-${i + 1}`);
    // What came before the restart, and was missed, is gone.
    expect(ids()).toEqual([...chunks(15, 1), "2-0", ...chunks(7, 2), "settled"]);
    expect(source.events.slice(14, 17).map(({ event, data }) => [event, data])).toEqual([
      ["chunk", "seen 3.3"],
      ["restart", { attempt: 2 }],
      ["chunk", "again"],
    ]);
    expect(source.events.at(-1)).toEqual({ event: "result", id: "settled", data: { words: 2 } });
  });

  it("gets a result from another server if it lost its connection before the result was stored", async () => {
    const [storing, backend] = [await database.open(), await database.open()];
    await serve(backend);
    source = new Listener(`${server.url}/api/tasks/t/events`);
    await eventually(() => expect(backend.stats().waiting).toBe(1));
    await server.stop();
    await eventually(() => expect(backend.stats().waiting).toBe(0));
    await storing.store("t", { n: 1 });
    await serve(await database.open(), server.port);
    await eventually(() => expect(source?.isClosed).toBe(true));
    expect(source.events).toEqual([{ event: "result", id: "settled", data: { n: 1 } }]);
  });
});
