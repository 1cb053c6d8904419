import { Hono } from "hono";
import type { PostgresResultBackend } from "kojin-postgres";
import { respond, sseGroup, sseTask } from "kojin-postgres/http";

/** On Node with `@hono/node-server`, or elsewhere. */
export function createHonoApp(backend: PostgresResultBackend): Hono {
  const app = new Hono();
  app.get("/tasks/:id", (c) =>
    respond(backend, c.req.param("id"), { request: c.req.raw, waitMs: 20_000, mustExist: true }),
  );
  app.get("/tasks/:id/events", (c) => sseTask(backend, c.req.param("id"), { request: c.req.raw }));
  app.get("/groups/:id/events", (c) => sseGroup(backend, c.req.param("id"), { request: c.req.raw }));
  return app;
}
