import { MemoryResultBackend } from "kojin-postgres";
import { type HttpRequest, sseGroup, sseResult } from "kojin-postgres/http";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { parseBlock, readBlocks, readEvents } from "./support/events";

const after = (lastEventId: string | undefined): { request: HttpRequest } => ({
  request: { headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId } },
});

describe("streams of events", () => {
  let backend: MemoryResultBackend;

  beforeEach(() => {
    // Web streams use these.
    jest.useFakeTimers({ doNotFake: ["nextTick", "queueMicrotask", "setImmediate"] });
    backend = new MemoryResultBackend();
  });

  afterEach(async () => {
    await backend.close();
    expect(backend.stats()).toEqual({ waiting: 0 });
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  const complete = async (...taskIds: string[]): Promise<void> => {
    for (const taskId of taskIds) await backend.completeGroupMember("g", taskId, 1);
  };
  /** Reads block by block. */
  const reader = (
    response: Response,
  ): { readonly next: () => Promise<string | undefined>; readonly cancel: () => Promise<void> } => {
    const blocks = readBlocks(response);
    return {
      next: async () => (await blocks.next()).value ?? undefined,
      cancel: async () => {
        await blocks.return();
      },
    };
  };
  const completed = (block: string | undefined): unknown =>
    (parseBlock(block ?? "")?.data as { completed?: number } | undefined)?.completed;

  it("forbid proxies to store, transform or buffer them", async () => {
    const response = sseGroup(backend, "g");
    expect(Object.fromEntries(response.headers)).toEqual({
      "content-type": "text/event-stream",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    });
    await response.body?.cancel();
  });

  it("begin with the delay before a reconnect", async () => {
    const [usual, own] = [reader(sseGroup(backend, "g")), reader(sseResult(backend, "t", { retryMs: 499.5 }))];
    expect([await usual.next(), await own.next()]).toEqual(["retry: 3000", "retry: 500"]);
    await Promise.all([usual.cancel(), own.cancel()]);
  });

  it("do nothing before they are read", () => {
    const responses = [sseGroup(backend, "g"), sseResult(backend, "t")];
    expect(responses.map(({ status }) => status)).toEqual([200, 200]);
    expect([backend.stats().waiting, jest.getTimerCount()]).toEqual([0, 0]);
  });

  it("send a slow client the latest state, and always the last", async () => {
    await backend.initGroup("g", 1_000);
    const { next } = reader(sseGroup(backend, "g"));
    await next();
    expect(completed(await next())).toBe(0);
    await complete(...Array.from({ length: 500 }, (_, index) => `a${index}`));
    expect(completed(await next())).toBe(500);
    await complete(...Array.from({ length: 500 }, (_, index) => `b${index}`));
    expect(await next()).toMatch(/^event: done\nid: ended-1000-0-1000\ndata: /);
    expect(await next()).toBeUndefined();
  });

  it("send a comment after a time without events", async () => {
    const { next, cancel } = reader(sseGroup(backend, "g"));
    await next();
    const first = next();
    await jest.advanceTimersByTimeAsync(14_999);
    await backend.initGroup("g", 5);
    expect(completed(await first)).toBe(0);
    const beats: (string | undefined)[] = [];
    const second = next().then((block) => beats.push(block));
    await jest.advanceTimersByTimeAsync(14_999);
    expect(beats).toEqual([]);
    await jest.advanceTimersByTimeAsync(1);
    await second;
    expect(beats).toEqual([": heartbeat"]);
    await cancel();
  });

  it("queue no comments for a client that does not read", async () => {
    const { next, cancel } = reader(sseResult(backend, "t", { heartbeatMs: 1_000 }));
    await next();
    await jest.advanceTimersByTimeAsync(100_000);
    await backend.store("t", 1);
    expect(await next()).toMatch(/^event: result/);
    expect(await next()).toBeUndefined();
    await cancel();
  });

  it.each([Infinity, 2 ** 31])("need no timer for a heartbeat of %d ms", async (heartbeatMs) => {
    const { next, cancel } = reader(sseGroup(backend, "g", { heartbeatMs }));
    await next();
    expect([backend.stats().waiting, jest.getTimerCount()]).toEqual([1, 0]);
    await cancel();
  });

  it("do not repeat the last state that the client received", async () => {
    await backend.initGroup("g", 3);
    const first = reader(sseGroup(backend, "g"));
    await first.next();
    const seen = parseBlock((await first.next()) ?? "");
    await first.cancel();
    const second = reader(sseGroup(backend, "g", after(seen?.id)));
    await second.next();
    const next = second.next();
    await jest.advanceTimersByTimeAsync(15_000);
    expect(await next).toBe(": heartbeat");
    await complete("a");
    expect(completed(await second.next())).toBe(1);
    await second.cancel();
    const third = reader(sseGroup(backend, "g", after(seen?.id)));
    await third.next();
    expect(completed(await third.next())).toBe(1);
    await third.cancel();
  });

  it("answer 204 to a client that received the last event, with either kind of headers", async () => {
    await backend.initGroup("g", 0);
    await backend.store("t", 1);
    const [group] = await readEvents(sseGroup(backend, "g"));
    const [result] = await readEvents(sseResult(backend, "t"));
    const headers = new Headers({ "Last-Event-ID": group?.id ?? "" });
    const refused = [
      sseGroup(backend, "g", after(group?.id)),
      sseGroup(backend, "g", { request: { headers } }),
      sseResult(backend, "t", after(result?.id)),
    ];
    expect(refused.map(({ status, body }) => [status, body])).toEqual(refused.map(() => [204, null]));
    const strange = [sseGroup(backend, "g", after("x\u0000y")), sseResult(backend, "t", after("0-0-1"))];
    expect((await Promise.all(strange.map(readEvents))).map((events) => events.length)).toEqual([1, 1]);
  });

  it("answer 400 to an invalid id", async () => {
    const [group, result] = [sseGroup(backend, "\0"), sseResult(backend, "")];
    expect(await group.json()).toMatchObject({
      status: 400,
      code: "INVALID_ID",
      detail: expect.stringMatching(/^groupId/) as unknown,
    });
    expect(await result.json()).toMatchObject({ status: 400, code: "INVALID_ID" });
    expect(() => sseGroup(backend, "g", { heartbeatMs: 0 })).toThrow(RangeError);
    expect(() => sseGroup(backend, "g", { retryMs: NaN })).toThrow(RangeError);
    expect(() => sseGroup(backend, "g", { retry: 5 } as object)).toThrow("retry: unknown option.");
    expect(() => sseResult(backend, "t", { showError: true } as object)).toThrow("showErrors");
  });

  it("end with a problem without an id when the backend closes", async () => {
    await backend.initGroup("g", 2);
    const told: unknown[] = [];
    const onError = (error: unknown): void => void told.push(error);
    const streams = [sseGroup(backend, "g", { onError }), sseResult(backend, "t", { onError })].map(readEvents);
    await jest.advanceTimersByTimeAsync(0);
    await backend.close();
    const problem = {
      event: "problem",
      id: undefined,
      data: expect.objectContaining({ code: "BACKEND_CLOSED" }) as unknown,
    };
    expect((await Promise.all(streams)).map((events) => events.at(-1))).toEqual([problem, problem]);
    expect(await readEvents(sseGroup(backend, "g", { onError }))).toEqual([problem]);
    expect(told).toEqual([]);
  });

  it("end for good when a group's deadline passes", async () => {
    await backend.initGroup("g", 2, { deadlineMs: 60_000 });
    const events = readEvents(sseGroup(backend, "g"));
    await jest.advanceTimersByTimeAsync(60_000);
    const [, last] = await events;
    expect(last).toMatchObject({ event: "expired", data: { code: "WAIT_TIMEOUT", status: 410 } });
    expect(sseGroup(backend, "g", after(last?.id)).status).toBe(204);
  });

  it("end and unsubscribe when a signal aborts, or has aborted before", async () => {
    const controller = new AbortController();
    const options = { request: { headers: {}, signal: controller.signal } };
    const streams = [sseGroup(backend, "g", options), sseResult(backend, "t", options)].map(readEvents);
    await jest.advanceTimersByTimeAsync(0);
    expect([backend.stats().waiting, jest.getTimerCount()]).toEqual([2, 2]);
    controller.abort();
    expect([backend.stats().waiting, jest.getTimerCount()]).toEqual([0, 0]);
    expect(await Promise.all(streams)).toEqual([[], []]);
    expect(await readEvents(sseGroup(backend, "g", options))).toEqual([]);
  });

  it("unsubscribe when they are cancelled", async () => {
    const { next, cancel } = reader(sseGroup(backend, "g"));
    await next();
    expect([backend.stats().waiting, jest.getTimerCount()]).toEqual([1, 1]);
    await cancel();
    expect([backend.stats().waiting, jest.getTimerCount()]).toEqual([0, 0]);
  });

  it("hide a task's error unless showErrors is set", async () => {
    await backend.fail("t", new RangeError("/srv/secret"));
    const [closed] = await readEvents(sseResult(backend, "t"));
    const [open] = await readEvents(sseResult(backend, "t", { showErrors: true }));
    expect(JSON.stringify(closed)).not.toMatch(/RangeError|secret/);
    expect(open?.data).toMatchObject({ code: "TASK_FAILED", failure: { name: "RangeError", message: "/srv/secret" } });
  });
});

describe("streams of events, on a database that fails for good", () => {
  const database = specDatabase("sse");

  it("tell the client that there is a problem, and the server which one", async () => {
    const backend = await database.open({ schema: "nowhere" });
    const told: unknown[] = [];
    const onError = (error: unknown): void => void told.push(error);
    const streams = [
      sseGroup(backend, "g", { onError }),
      sseResult(backend, "t", { onError }),
      sseResult(backend, "t"),
    ];
    for (const events of await Promise.all(streams.map(readEvents))) {
      expect(events).toEqual([
        {
          event: "problem",
          id: undefined,
          data: expect.objectContaining({ status: 500, code: "INTERNAL" }) as unknown,
        },
      ]);
    }
    expect(told.map((error) => (error as Error).name)).toEqual(["SchemaError", "SchemaError"]);
    await eventually(() => expect(backend.stats()).toMatchObject({ waiting: 0, waitingGroups: 0 }));
  });

  it("break off if onError throws", async () => {
    const backend = await database.open({ schema: "nowhere" });
    const onError = (): never => {
      throw new Error("mine");
    };
    await expect(readEvents(sseGroup(backend, "g", { onError }))).rejects.toEqual(new Error("mine"));
  });
});
