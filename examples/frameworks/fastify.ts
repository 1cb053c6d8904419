import fastify, { type FastifyInstance } from "fastify";
import type { PostgresResultBackend } from "kojin-postgres";
import { respond, sseGroup, sseTask } from "kojin-postgres/http";

export function createFastifyApp(backend: PostgresResultBackend): FastifyInstance {
  const app = fastify();
  type Route = { Params: { id: string } };
  app.get<Route>("/tasks/:id", async (request) =>
    respond(backend, request.params.id, { request, waitMs: 20_000, mustExist: true }),
  );
  app.get<Route>("/tasks/:id/events", (request, reply) => reply.send(sseTask(backend, request.params.id, { request })));
  app.get<Route>("/groups/:id/events", (request, reply) =>
    reply.send(sseGroup(backend, request.params.id, { request })),
  );
  return app;
}
