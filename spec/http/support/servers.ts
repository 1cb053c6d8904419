import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createHttp2Server, type Http2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import express from "express";
import fastify from "fastify";
import { Hono } from "hono";
import type { ResultBackend } from "kojin-postgres";
import {
  type HttpRequest,
  respond,
  sendResponse,
  sseGroup,
  type SseGroupOptions,
  sseResult,
  sseTask,
} from "kojin-postgres/http";

/** The parameters of the routes below. */
export interface Handlers {
  readonly backend: ResultBackend;
  readonly waitMs: number;
  readonly sse?: SseGroupOptions;
}

/** A server that listens. */
export interface RunningServer {
  readonly url: string;
  readonly port: number;
  /** Stops the server and closes its connections. */
  stop(): Promise<void>;
}

/** Listens on `port`; 0 takes a free one. */
export async function listen(server: Server | Http2Server, port = 0): Promise<RunningServer> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const address = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      if ("closeAllConnections" in server) server.closeAllConnections();
      await closed;
    },
  };
}

type Create = (handlers: Handlers) => Promise<Server>;

/** The same four routes, mounted at /api: the result of a task, its events, its chunks, and the events of a group. */
export const frameworks: Readonly<Record<string, Create>> = {
  "node:http": async (handlers) =>
    Promise.resolve(
      createServer((request, response) => {
        sendResponse(response, (each) => route(handlers, each)).catch(() => request.destroy());
      }),
    ),
  express: async ({ backend, waitMs, sse }) => {
    const router = express.Router();
    router.get("/tasks/:id", async (request, response) =>
      sendResponse(response, (each) => respond(backend, request.params.id, { request: each, waitMs })),
    );
    router.get("/tasks/:id/events", async (request, response) =>
      sendResponse(response, sseResult(backend, request.params.id, { ...sse, showErrors: true, request })),
    );
    router.get("/tasks/:id/chunks", async (request, response) =>
      sendResponse(response, sseTask(backend, request.params.id, { ...sse, showErrors: true, request })),
    );
    router.get("/groups/:id/events", async (request, response) =>
      sendResponse(response, sseGroup(backend, request.params.id, { ...sse, request })),
    );
    return Promise.resolve(createServer(express().use("/api", router)));
  },
  fastify: async ({ backend, waitMs, sse }) => {
    const app = fastify();
    type Route = { Params: { id: string } };
    app.get<Route>("/api/tasks/:id", async (request) => respond(backend, request.params.id, { request, waitMs }));
    app.get<Route>("/api/tasks/:id/events", (request, reply) =>
      reply.send(sseResult(backend, request.params.id, { ...sse, showErrors: true, request })),
    );
    app.get<Route>("/api/tasks/:id/chunks", (request, reply) =>
      reply.send(sseTask(backend, request.params.id, { ...sse, showErrors: true, request })),
    );
    app.get<Route>("/api/groups/:id/events", (request, reply) =>
      reply.send(sseGroup(backend, request.params.id, { ...sse, request })),
    );
    await app.ready();
    return app.server;
  },
  hono: async ({ backend, waitMs, sse }) => {
    const app = new Hono().basePath("/api");
    app.get("/tasks/:id", (c) => respond(backend, c.req.param("id"), { request: c.req.raw, waitMs }));
    app.get("/tasks/:id/events", (c) =>
      sseResult(backend, c.req.param("id"), { ...sse, showErrors: true, request: c.req.raw }),
    );
    app.get("/tasks/:id/chunks", (c) =>
      sseTask(backend, c.req.param("id"), { ...sse, showErrors: true, request: c.req.raw }),
    );
    app.get("/groups/:id/events", (c) => sseGroup(backend, c.req.param("id"), { ...sse, request: c.req.raw }));
    return Promise.resolve(createAdaptorServer(app) as Server);
  },
};

/** Routes a request without a framework. */
function route({ backend, waitMs, sse }: Handlers, request: HttpRequest): Response | Promise<Response> {
  const [, kind, id = "", events] =
    /^\/api\/(tasks|groups)\/([^/?]+)(\/events|\/chunks)?(?:\?|$)/.exec(request.url ?? "") ?? [];
  const decoded = decodeURIComponent(id);
  if (kind === "groups") return sseGroup(backend, decoded, { ...sse, request });
  if (events === "/chunks") return sseTask(backend, decoded, { ...sse, showErrors: true, request });
  if (events !== undefined) return sseResult(backend, decoded, { ...sse, showErrors: true, request });
  return respond(backend, decoded, { request, waitMs });
}

export const http2Server = (handlers: Handlers): Http2Server =>
  createHttp2Server((_request, response) => void sendResponse(response, (each) => route(handlers, each)));
