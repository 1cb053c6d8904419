import { once } from "node:events";
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { connect, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { queryObjects } from "node:v8";
import { MemoryResultBackend } from "kojin-postgres";
import { sendResponse, sseGroup } from "kojin-postgres/http";
import { eventually } from "../support/eventually";
import { parseBlock } from "./support/events";
import { http2Server, listen, type RunningServer } from "./support/servers";

describe("sendResponse", () => {
  let backend: MemoryResultBackend;
  let server: RunningServer;
  const sockets: Socket[] = [];

  /** Answers each request, and keeps the outcome of the latest. */
  const serve = async (answer: (response: ServerResponse) => Promise<void>): Promise<{ sent: Promise<unknown> }> => {
    const latest: { sent: Promise<unknown> } = { sent: Promise.resolve() };
    const listener: RequestListener = (_request, response) => {
      latest.sent = answer(response).catch((error: unknown) => error);
    };
    server = await listen(createServer(listener));
    return latest;
  };
  /** Sends a request without reading the response. */
  const ask = (path = "/", method = "GET"): Socket => {
    const socket = connect(server.port, "127.0.0.1").pause();
    socket.on("error", () => undefined);
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    sockets.push(socket);
    return socket;
  };
  const readAll = async (socket: Socket): Promise<string> => {
    let text = "";
    for await (const bytes of socket) text += String(bytes);
    return text;
  };

  beforeEach(() => {
    backend = new MemoryResultBackend();
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await server.stop();
    await backend.close();
  });

  it("sends status, headers and body, and keeps headers that were set before", async () => {
    await serve(async (response) => {
      response.setHeader("X-Mine", "kept").setHeader("Set-Cookie", "a=1").setHeader("Content-Type", "replaced");
      const headers = new Headers({ "Content-Type": "text/plain" });
      for (const cookie of ["b=2", "c=3"]) headers.append("Set-Cookie", cookie);
      await sendResponse(response, new Response("hallo", { status: 418, headers }));
    });
    const response = await fetch(server.url);
    expect([response.status, await response.text()]).toEqual([418, "hallo"]);
    expect([response.headers.get("x-mine"), response.headers.get("content-type")]).toEqual(["kept", "text/plain"]);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2", "c=3"]);
  });

  it("sends no body if there is none, or for a HEAD request", async () => {
    let cancelled = 0;
    await serve(async (response) => {
      const isEmpty = response.req.url === "/empty";
      const body = new ReadableStream({ cancel: () => void (cancelled += 1) });
      await sendResponse(response, new Response(isEmpty ? null : body, { status: isEmpty ? 204 : 200 }));
    });
    expect((await fetch(`${server.url}/empty`)).status).toBe(204);
    expect((await fetch(server.url, { method: "HEAD" })).status).toBe(200);
    expect(cancelled).toBe(1);
  });

  it("reads no more from the body than the client reads", async () => {
    let made = 0;
    const total = 1_024;
    const response = await new Promise<ServerResponse>((resolve) => {
      void serve(async (each) => {
        if (each.req.url === "/marker") return sendResponse(each, new Response("here"));
        resolve(each);
        const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
          made += 1;
          controller.enqueue(new Uint8Array(65_536));
          if (made === total) controller.close();
        };
        return sendResponse(each, new Response(new ReadableStream({ pull }, { highWaterMark: 0 })));
      }).then(() => ask());
    });
    await eventually(() => expect(response.writableNeedDrain).toBe(true));
    const before = made;
    expect(await (await fetch(`${server.url}/marker`)).text()).toBe("here");
    expect([made, made < total]).toEqual([before, true]);
    let received = 0;
    for await (const bytes of sockets[0] ?? []) received += (bytes as Buffer).length;
    expect(made).toBe(total);
    expect(received).toBeGreaterThan(total * 65_536);
  });

  it("keeps nothing for each time that the client was slow, and does not listen to the response afterwards", async () => {
    const total = 2_000;
    const promises: number[] = [];
    // Jest has a `Promise` of its own; streams have that of Node.
    const { constructor } = turn();
    const waits: boolean[] = [];
    const listeners: number[] = [];
    await serve(async (response) => {
      let made = 0;
      const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
        made += 1;
        if (made === total / 2 || made === total) promises.push(queryObjects(constructor, { format: "count" }));
        // The last wait ends with the body, and not with the client.
        if (made > total) controller.close();
        else controller.enqueue(new Uint8Array(65_536));
      };
      const write = response.write.bind(response) as (bytes: Uint8Array) => boolean;
      response.write = (bytes: Uint8Array) => {
        const canTakeMore = write(bytes);
        waits.push(!canTakeMore);
        return canTakeMore;
      };
      const before = response.listenerCount("drain");
      await sendResponse(response, new Response(new ReadableStream({ pull }, { highWaterMark: 1 })));
      listeners.push(before, response.listenerCount("drain"));
    });
    const body = await (await fetch(server.url)).arrayBuffer();
    expect([body.byteLength, waits.length]).toEqual([total * 65_536, total]);
    expect(waits).not.toContain(false);
    const [halfway = NaN, atEnd = NaN] = promises;
    expect(atEnd - halfway).toBeLessThan(total / 4);
    expect(listeners[1]).toBe(listeners[0]);
  });

  it("buffers little for a slow client, however many events there are", async () => {
    const groupId = "g".repeat(512);
    const members = 60_000;
    let held = 0;
    let started: ServerResponse | undefined;
    await serve(async (response) => {
      started = response;
      await sendResponse(response, sseGroup(backend, groupId));
    });
    await backend.initGroup(groupId, members);
    const socket = ask();
    await eventually(() => expect(started?.headersSent).toBe(true));
    for (let index = 0; index < members; index += 1) {
      await backend.completeGroupMember(groupId, `m${index}`, 1);
      if (index % 10 === 0) await turn();
      held = Math.max(held, started?.writableLength ?? 0);
    }
    const blocks = (await readAll(socket)).split("\n\n").map((block) => block.slice(block.indexOf("event: ")));
    const events = blocks.flatMap((block) => parseBlock(block) ?? []);
    expect(events.at(-1)).toMatchObject({ event: "done", data: { completed: members, done: true } });
    expect(events.length).toBeLessThan(members / 2);
    expect(held).toBeLessThan(1_000_000);
    expect(backend.stats()).toEqual({ waiting: 0 });
  });

  it("closes the connection if the body fails, so that the response does not look complete", async () => {
    const latest = await serve(async (response) => {
      let pulls = 0;
      const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
        if ((pulls += 1) === 1) controller.enqueue(Buffer.from("half"));
        else controller.error(new Error("broken"));
      };
      await sendResponse(response, new Response(new ReadableStream({ pull }, { highWaterMark: 0 })));
    });
    await expect(fetch(server.url).then(async (response) => response.text())).rejects.toThrow();
    expect(await latest.sent).toEqual(new Error("broken"));
  });

  it("rejects with the error of the response, and leaves sending one to its caller", async () => {
    await serve(async (response) => {
      await sendResponse(response, Promise.reject(new Error("mine"))).catch((error: unknown) => {
        response.statusCode = 500;
        response.end(String(error));
      });
    });
    const response = await fetch(server.url);
    expect([response.status, await response.text()]).toEqual([500, "Error: mine"]);
  });

  it("ends when the client disconnects: before the response, while it is sent, while the client does not read", async () => {
    const asked: string[] = [];
    let cancelled = 0;
    const answers: Record<string, (signal: AbortSignal | undefined) => Promise<Response>> = {
      "/waits": async (signal) => {
        await backend.waitSettled("never", { timeoutMs: 60_000, ...(signal && { signal }) });
        return new Response();
      },
      "/late": async (signal) => {
        await new Promise((resolve) => signal?.addEventListener("abort", resolve));
        return new Response(new ReadableStream({ cancel: () => void (cancelled += 1) }));
      },
      "/streams": async () => Promise.resolve(sseGroup(backend, "g", { heartbeatMs: Infinity })),
      "/floods": async () => {
        const pull = (each: ReadableStreamDefaultController<Uint8Array>): void => each.enqueue(new Uint8Array(65_536));
        return Promise.resolve(new Response(new ReadableStream({ pull, cancel: () => void (cancelled += 1) })));
      },
    };
    const latest = await serve(async (response) => {
      const url = response.req.url ?? "";
      await sendResponse(response, async ({ signal }) => {
        asked.push(url);
        return (answers[url] ?? fail)(signal);
      });
    });
    for (const path of Object.keys(answers)) {
      const socket = ask(path);
      await eventually(() => expect(asked.at(-1)).toBe(path));
      if (path === "/streams") await eventually(() => expect(backend.stats()).toEqual({ waiting: 1 }));
      socket.destroy();
      expect([path, await latest.sent]).toEqual([path, undefined]);
    }
    expect([cancelled, backend.stats()]).toEqual([2, { waiting: 0 }]);
  });

  it("cancels the body if the client has already disconnected", async () => {
    let isCancelled = false;
    const latest = await serve(async (response) => {
      response.destroy();
      await once(response, "close");
      const body = new ReadableStream({ cancel: () => void (isCancelled = true) });
      await sendResponse(response, new Response(body));
    });
    await expect(fetch(server.url)).rejects.toThrow();
    expect([await latest.sent, isCancelled]).toEqual([undefined, true]);
  });

  it("cancels the body if the stream of HTTP/2 had closed before, or closes before the response is there", async () => {
    const outcomes: (readonly [path: string | undefined, sent: Promise<unknown>])[] = [];
    const cancelled: (string | undefined)[] = [];
    const answer = async (request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> => {
      const body = new ReadableStream({
        pull: (controller) => controller.enqueue(Buffer.from("more")),
        cancel: () => void cancelled.push(request.url),
      });
      const create = async (): Promise<Response> => {
        if (request.url === "/closes") response.stream.close();
        return Promise.resolve(new Response(body));
      };
      const closed = once(response, "close");
      if (request.url === "/destroyed") response.stream.destroy();
      if (request.url !== "/closes") await closed;
      await sendResponse(response, create);
    };
    server = await listen(
      createHttp2Server((request, response) => outcomes.push([request.url, answer(request, response)])),
    );
    const client = connectHttp2(server.url);
    for (const path of ["/aborted", "/destroyed", "/closes"]) {
      const before = outcomes.length;
      const stream = client.request({ ":path": path }).on("error", () => undefined);
      await eventually(() => expect(outcomes.length).toBe(before + 1));
      if (path === "/aborted") stream.close();
      expect([path, await outcomes[before]?.[1]]).toEqual([path, undefined]);
    }
    expect(cancelled).toEqual(["/aborted", "/destroyed", "/closes"]);
    client.close();
    await once(client, "close");
  });

  it("speaks HTTP/2 as well", async () => {
    server = await listen(http2Server({ backend, waitMs: 60_000 }));
    const client = connectHttp2(server.url);
    await backend.initGroup("g", 1);
    const stream = client.request({ ":path": "/api/groups/g/events" }).setEncoding("utf8");
    const [first] = (await once(stream, "data")) as [string];
    expect(first).toMatch(/^retry: 3000\n\n/);
    await eventually(() => expect(backend.stats()).toEqual({ waiting: 1 }));
    await backend.completeGroupMember("g", "a", 1);
    let rest = "";
    for await (const text of stream) rest += String(text);
    expect(rest).toMatch(/event: done\n[^]*\n\n$/);
    const gone = client.request({ ":path": "/api/tasks/never" });
    await eventually(() => expect(backend.stats()).toEqual({ waiting: 1 }));
    gone.close();
    await eventually(() => expect(backend.stats()).toEqual({ waiting: 0 }));
    client.close();
    await once(client, "close");
  });
});

function fail(): never {
  throw new Error("There is no such path.");
}
