import { MemoryResultBackend, SchemaError, type TaskFailedError } from "kojin-postgres";
import { type HttpRequest, respond } from "kojin-postgres/http";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

const problemOf = async (response: Response): Promise<unknown> => {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  return response.json();
};

describe("respond", () => {
  let backend: MemoryResultBackend;

  beforeEach(() => {
    backend = new MemoryResultBackend();
  });

  afterEach(async () => {
    await backend.close();
    expect(backend.stats()).toEqual({ waiting: 0 });
  });

  it.each([0, "", false, null, [], { a: ["é"] }])("gives the result %j as JSON", async (value) => {
    await backend.store("task", value);
    const response = await respond(backend, "task", { waitMs: 0 });
    expect([response.status, await response.json()]).toEqual([200, value]);
  });

  it.each([
    ["", "an empty string"],
    ["x".repeat(513), "got 513"],
    ["a\0b", "without NUL"],
    ["\ud800", "well-formed"],
  ])("refuses the id %j, which no task can have, with 400", async (taskId, reason) => {
    const response = await respond(backend, taskId, { waitMs: 1_000 });
    expect(response.status).toBe(400);
    expect(await problemOf(response)).toEqual({
      title: "Bad Request",
      status: 400,
      code: "INVALID_ID",
      detail: expect.stringContaining(reason) as unknown,
    });
  });

  it("rejects for mistakes of the server, instead of blaming the client", async () => {
    await expect(respond(backend, undefined as unknown as string, { waitMs: 0 })).rejects.toBeInstanceOf(TypeError);
    await expect(respond(backend, "task", { waitMs: Infinity })).rejects.toThrow(/^waitMs: expected 0 ms or more/);
    await expect(respond(backend, "task", { waitMs: 0, retryAfterMs: -1 })).rejects.toThrow(/^retryAfterMs:/);
    const notMigrated = new (class extends MemoryResultBackend {
      override async waitSettled(): Promise<never> {
        return Promise.reject(new SchemaError("public", "missing", "Run migrate."));
      }
    })();
    await expect(respond(notMigrated, "task", { waitMs: 0 })).rejects.toBeInstanceOf(SchemaError);
  });

  it("answers 404 for an unknown task if mustExist is set", async () => {
    expect((await respond(backend, "task", { waitMs: 0 })).status).toBe(202);
    const unknown = await respond(backend, "task", { waitMs: 60_000, mustExist: true });
    expect([unknown.status, await problemOf(unknown)]).toEqual([
      404,
      { title: "Not Found", status: 404, code: "TASK_NOT_FOUND", detail: "There is no such task." },
    ]);
    await backend.expect("task");
    expect((await respond(backend, "task", { waitMs: 0, mustExist: true })).status).toBe(202);
    await backend.store("task", 1);
    expect((await respond(backend, "task", { waitMs: 0, mustExist: true })).status).toBe(200);
    await backend.delete("task");
    expect((await respond(backend, "task", { waitMs: 0, mustExist: true })).status).toBe(404);
  });

  it("hides a task's error unless showErrors is set", async () => {
    await backend.fail("task", Object.assign(new RangeError("row 7 of /srv/secret"), { code: "E7", details: [7] }));
    const common = { title: "Internal Server Error", status: 500, code: "TASK_FAILED", detail: "The task failed." };
    expect(await problemOf(await respond(backend, "task", { waitMs: 0 }))).toEqual(common);
    const open = await respond(backend, "task", { waitMs: 0, showErrors: true });
    expect(await problemOf(open)).toEqual({
      ...common,
      failure: { name: "RangeError", message: "row 7 of /srv/secret", code: "E7", details: [7] },
    });
  });

  it("lets onFailure create the response to a failure", async () => {
    await backend.fail("task", new TypeError("age: expected a number"));
    const onFailure = ({ failure }: TaskFailedError): Response => new Response(failure.message, { status: 422 });
    const response = await respond(backend, "task", { waitMs: 0, onFailure });
    expect([response.status, await response.text()]).toEqual([422, "age: expected a number"]);
    const broken = { waitMs: 0, onFailure: () => Promise.reject(new Error("mine")) };
    await expect(respond(backend, "task", broken)).rejects.toEqual(new Error("mine"));
  });

  it("says when to ask again in whole seconds, and where only if it is known", async () => {
    const later = await respond(backend, "task", { waitMs: 0, retryAfterMs: 1_001 });
    expect([later.status, later.headers.get("retry-after"), later.headers.get("location")]).toEqual([202, "2", null]);
    const request = { url: "/here", headers: {} };
    const elsewhere = await respond(backend, "task", { waitMs: 0, request, location: "/there", retryAfterMs: 0 });
    expect([elsewhere.headers.get("location"), elsewhere.headers.get("retry-after")]).toEqual(["/there", "0"]);
  });

  it.each<[string | undefined, string | null]>([
    ["/tasks/a?x=%20", "/tasks/a?x=%20"],
    ["https://host.example/tasks/a?x#y", "/tasks/a?x"],
    ["//evil.example/tasks", "/evil.example/tasks"],
    ["/\\evil.example/tasks", "/evil.example/tasks"],
    ["http://host.example//evil.example", "/evil.example"],
    ["/a\r\nSet-Cookie: b", "/aSet-Cookie:%20b"],
    ["*", "/*"],
    ["http://[", null],
    [undefined, null],
  ])("sends the client of %j back to %j, never to another host", async (url, location) => {
    const response = await respond(backend, "task", { waitMs: 0, request: { url, headers: {} } });
    expect(response.headers.get("location")).toBe(location);
    const mounted = { url: "/cut off", originalUrl: url, headers: {} };
    const other = await respond(backend, "task", { waitMs: 0, request: mounted });
    expect(other.headers.get("location")).toBe(url === undefined ? "/cut%20off" : location);
  });

  it.each<[prefer: string, applied: string | null]>([
    ["wait=5", "wait=5"],
    ["wait=05", "wait=5"],
    ["wait=20", "wait=20"],
    ["wait=21", "wait=20"],
    [`wait=${"9".repeat(30)}`, "wait=20"],
    ["WAIT = 5", "wait=5"],
    ['\twait="5"', "wait=5"],
    ["wait=5; reason=impatience", "wait=5"],
    ["respond-async, wait=5", "wait=5"],
    ["handling=lenient,,return=minimal ;a=b,wait=5,", "wait=5"],
    ["wait=5, wait=7", "wait=5"],
    ['note="a, wait=7", wait=5', "wait=5"],
    ['note="a \\" , wait=7", wait=5', "wait=5"],
    ['note="a, wait=7', null],
    ["wait", null],
    ["wait=", null],
    ['wait=""', null],
    ["wait=-5", null],
    ["wait=1.5", null],
    ["wait=5s", null],
    ["wait=5 7", null],
    ['wait="5', null],
    ["wait=, wait=5", null],
    ["await=5", null],
    ["wait-less=5", null],
    ["respond-async", null],
    ["", null],
  ])("says of Prefer: %s that it applied %s", async (prefer, applied) => {
    await backend.store("task", 1);
    for (const headers of [{ prefer }, { prefer: [prefer] }, new Headers({ prefer })]) {
      const response = await respond(backend, "task", { waitMs: 20_000, request: { headers } });
      expect([response.status, response.headers.get("preference-applied")]).toEqual([200, applied]);
    }
  });

  it("waits as long as the client prefers, but no longer than waitMs", async () => {
    jest.useFakeTimers();
    try {
      for (const [prefer, waitedMs] of [
        ["wait=2", 2_000],
        ["wait=0", 0],
        ["wait=9", 5_000],
        ["wait=two", 5_000],
      ] as const) {
        const answered = jest.fn();
        const request = { headers: { prefer } };
        const response = respond(backend, "task", { waitMs: 5_000, request }).finally(answered);
        await jest.advanceTimersByTimeAsync(Math.max(0, waitedMs - 1));
        expect(answered).toHaveBeenCalledTimes(waitedMs === 0 ? 1 : 0);
        await jest.advanceTimersByTimeAsync(1);
        expect((await response).status).toBe(202);
      }
    } finally {
      jest.useRealTimers();
    }
  });

  it("says that it applied a preference also if the task failed or is not done", async () => {
    await backend.fail("failed", new Error("no"));
    const request = { headers: { prefer: "wait=0" } };
    for (const taskId of ["failed", "open"]) {
      const response = await respond(backend, taskId, { waitMs: 20_000, request });
      expect(response.headers.get("preference-applied")).toBe("wait=0");
    }
  });

  it("ends when the signal of the request or of the options aborts", async () => {
    const [gone, other] = [new AbortController(), new AbortController()];
    const request: HttpRequest = { headers: {}, signal: gone.signal };
    const responses = [
      respond(backend, "task", { waitMs: 60_000, request }),
      respond(backend, "task", { waitMs: 60_000, request, signal: other.signal }),
    ];
    await eventually(() => expect(backend.stats().waiting).toBe(1));
    gone.abort();
    expect((await responses[0])?.status).toBe(499);
    expect(backend.stats().waiting).toBe(1);
    other.abort(new Error("mine"));
    expect((await responses[1])?.status).toBe(499);
    expect((await respond(backend, "task", { waitMs: 60_000, request })).status).toBe(499);
  });

  it("says that the server shuts down, and when to ask again", async () => {
    const open = respond(backend, "task", { waitMs: 60_000 });
    await backend.close();
    for (const response of [await open, await respond(backend, "task", { waitMs: 0 })]) {
      expect([response.status, response.headers.get("retry-after")]).toEqual([503, "1"]);
      expect(await problemOf(response)).toMatchObject({ status: 503, code: "BACKEND_CLOSED" });
    }
  });
});

describe("respond, on a database that fails", () => {
  const database = specDatabase("respond");

  it("waits through an outage, and says when to ask again if it lasts", async () => {
    const proxy = await TcpProxy.start(database.url);
    const [storing, serving] = [await database.open(), await database.open({}, proxy.route(database.url))];
    await serving.ready();
    proxy.mode = "refuse";
    proxy.cut();
    expect((await respond(serving, "task", { waitMs: 200 })).status).toBe(202);
    const later = respond(serving, "task", { waitMs: 20_000 });
    await storing.store("task", 1);
    proxy.mode = "pass";
    expect(await (await later).json()).toBe(1);
    await serving.close();
    await proxy.stop();
  });

  it("rejects if results cannot be read at all", async () => {
    const backend = await database.open({ schema: "nowhere" });
    await expect(respond(backend, "task", { waitMs: 5_000 })).rejects.toBeInstanceOf(SchemaError);
  });
});
