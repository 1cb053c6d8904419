import { escapeIdentifier } from "pg";
import { MemoryResultBackend } from "kojin-postgres";
import { type HttpRequest, sseTask, type SseTaskOptions } from "kojin-postgres/http";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { readBlocks, readEvents, type SeenEvent } from "./support/events";

const after = (lastEventId: string): { request: HttpRequest } => ({
  request: { headers: { "last-event-id": lastEventId } },
});
const result = { event: "result", id: "settled", data: "done" };
const chunk = (sequence: number, data: unknown, attempt = 1): SeenEvent => ({
  event: "chunk",
  id: `${attempt}-${sequence}`,
  data,
});
const restart = (attempt: number): SeenEvent => ({ event: "restart", id: `${attempt}-0`, data: { attempt } });

describe("a stream of chunks", () => {
  let backend: MemoryResultBackend;
  const read = async (options?: SseTaskOptions): Promise<SeenEvent[]> => readEvents(sseTask(backend, "t", options));
  const emit = async (...values: unknown[]): Promise<void> => {
    for (const value of values) await backend.emit("t", value);
  };

  beforeEach(() => (backend = new MemoryResultBackend()));
  afterEach(async () => {
    await backend.close();
    expect(backend.stats()).toEqual({ waiting: 0 });
  });

  it("has the stored chunks, those that follow, and the result", async () => {
    await emit("Hel", "lo");
    const events = read();
    await eventually(() => expect(backend.stats().waiting).toBe(1));
    await emit({ n: 3 }, null);
    await backend.store("t", "done");
    expect(await events).toEqual([chunk(1, "Hel"), chunk(2, "lo"), chunk(3, { n: 3 }), chunk(4, null), result]);
    expect(await read()).toEqual(await events);
  });

  it("goes on after the last event of the client, by header or by option", async () => {
    await emit("a", "b", "c");
    await backend.store("t", "done");
    const rest = [chunk(3, "c"), result];
    expect(await read(after("1-2"))).toEqual(rest);
    expect(await read({ lastEventId: "1-2" })).toEqual(rest);
    // The page was loaded again after 1-1, and its EventSource has reconnected since.
    expect(await read({ ...after("1-2"), lastEventId: "1-1" })).toEqual(rest);
    expect(await read(after("1-3"))).toEqual([result]);
    for (const options of [after("settled"), { lastEventId: "settled" }])
      expect(sseTask(backend, "t", options).status).toBe(204);
    for (const lastEventId of ["", null, undefined]) expect(await read({ ...after(""), lastEventId })).toHaveLength(4);
  });

  it.each(["x", "0-1", "1-", "-1", "1-2-3", "2147483648-1", "1-9007199254740993", "ended-1-0-1"])(
    "begins with the first chunk after the id %j, which it never gave",
    async (lastEventId) => {
      await emit("a");
      await backend.store("t", "done");
      expect(await read({ lastEventId })).toEqual([chunk(1, "a"), result]);
    },
  );

  it("says that the task was started again, also to a client with an id of an earlier attempt", async () => {
    await emit("wrong", "words");
    const early = read();
    await eventually(() => expect(backend.stats().waiting).toBe(1));
    await backend.emit("t", "right", { restart: true });
    await emit("words");
    await backend.store("t", "done");
    const again = [chunk(1, "right", 2), chunk(2, "words", 2), result];
    expect(await early).toEqual([chunk(1, "wrong"), chunk(2, "words"), restart(2), ...again]);
    expect(await read(after("1-1"))).toEqual([restart(2), ...again]);
    expect(await read(after("2-0"))).toEqual(again);
    expect(await read(after("2-1"))).toEqual(again.slice(1));
    expect(await read()).toEqual(again);
  });

  it("has the chunks of a failed task before the failure, which hides its error unless showErrors is set", async () => {
    await emit("a");
    await backend.fail("t", new RangeError("/srv/secret"));
    const [closed, open] = [await read(), await read({ showErrors: true })];
    expect(closed).toMatchObject([chunk(1, "a"), { event: "failure", id: "settled", data: { code: "TASK_FAILED" } }]);
    expect(JSON.stringify(closed)).not.toMatch(/RangeError|secret/);
    expect(open[1]?.data).toMatchObject({ failure: { name: "RangeError", message: "/srv/secret" } });
    expect(sseTask(backend, "t", after("settled")).status).toBe(204);
  });

  it("is left while a client reads too slowly, and misses nothing", async () => {
    const blocks = readBlocks(sseTask(backend, "t"));
    expect((await blocks.next()).value).toBe("retry: 3000");
    const texts = Array.from({ length: 1_000 }, (_, index) => `${index} ${"x".repeat(1_000)}`);
    await emit(...texts.slice(0, 200));
    expect(backend.stats()).toEqual({ waiting: 1 });
    await emit(...texts.slice(200));
    // Of the megabyte, about a quarter waits for the client.
    expect(backend.stats()).toEqual({ waiting: 0 });
    await backend.store("t", "done");
    const seen: string[] = [];
    for await (const block of blocks) seen.push(block);
    expect(seen.map((block) => /^id: (.*)$/m.exec(block)?.[1])).toEqual([
      ...texts.map((_, index) => `1-${index + 1}`),
      "settled",
    ]);
  });

  it("ends after a failure that was too much for a slow client, and after a result", async () => {
    await backend.emit("t", "x".repeat(300_000));
    await backend.store("t", "y".repeat(300_000));
    expect((await read()).map(({ event }) => event)).toEqual(["chunk", "result"]);
  });

  it("ends with a problem without an id when the backend closes, and goes on at the next one", async () => {
    await emit("a");
    const next = backend.view();
    const events = read();
    await eventually(() => expect(backend.stats().waiting).toBe(1));
    await backend.close();
    const problem = {
      event: "problem",
      id: undefined,
      data: expect.objectContaining({ code: "BACKEND_CLOSED" }) as unknown,
    };
    expect(await events).toEqual([chunk(1, "a"), problem]);
    await next.emit("t", "b");
    await next.store("t", "done");
    expect(await readEvents(sseTask(next, "t", after("1-1")))).toEqual([chunk(2, "b"), result]);
    await next.close();
  });

  it("ends when its signal aborts or its time is over, also while a client reads too slowly", async () => {
    const controller = new AbortController();
    const [slow, idle] = ["slow", "idle"].map((taskId) =>
      readBlocks(sseTask(backend, taskId, { signal: controller.signal })),
    );
    await Promise.all([slow?.next(), idle?.next()]);
    for (let index = 0; index < 2; index += 1) await backend.emit("slow", "x".repeat(300_000));
    expect(backend.stats()).toEqual({ waiting: 1 });
    controller.abort();
    expect(backend.stats()).toEqual({ waiting: 0 });
    expect((await idle?.next())?.done).toBe(true);
    // What was read for the client is still sent.
    expect((await slow?.next())?.value).toMatch(/^event: chunk\nid: 1-1\n/);
    expect((await slow?.next())?.done).toBe(true);
    expect(await read({ signal: AbortSignal.timeout(1) })).toEqual([]);
  });

  it("follows nothing before it is read, nor after it is cancelled", async () => {
    const response = sseTask(backend, "t");
    expect(backend.stats()).toEqual({ waiting: 0 });
    const blocks = readBlocks(response);
    await blocks.next();
    expect(backend.stats()).toEqual({ waiting: 1 });
    await blocks.return();
    expect(backend.stats()).toEqual({ waiting: 0 });
  });

  it("answers 400 to an invalid id, and refuses wrong options", async () => {
    expect(await sseTask(backend, "").json()).toMatchObject({ status: 400, code: "INVALID_ID" });
    expect(() => sseTask(backend, "t", { lastEventId: 5 as never })).toThrow("lastEventId: expected a string");
    expect(() => sseTask(backend, "t", { after: "1-1" } as object)).toThrow("after: unknown option.");
  });
});

describe("a stream of chunks, on a database", () => {
  const database = specDatabase("sse task");

  it("has the numbers of JSON as they were emitted", async () => {
    const backend = await database.open();
    const schema = escapeIdentifier(database.schema);
    await database.sql(`select ${schema}.kojin_emit('t', '[9007199254740993, 0.10]')`);
    await backend.store("t", null);
    const text = await sseTask(backend, "t").text();
    expect(text).toContain("event: chunk\nid: 1-1\ndata: [9007199254740993, 0.10]\n\n");
  });

  it("tells the client that there is a problem, and the server which one", async () => {
    const backend = await database.open({ schema: "nowhere" });
    const told: unknown[] = [];
    const onError = (error: unknown): void => void told.push(error);
    const problem = { event: "problem", data: { code: "INTERNAL" } };
    expect(await readEvents(sseTask(backend, "t", { onError }))).toMatchObject([problem]);
    expect(told).toMatchObject([{ name: "SchemaError" }]);
  });
});
