import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { Hono } from "hono";
import type { PostgresResultBackend } from "kojin-postgres";
import { mountDashboard } from "kojin-postgres/dashboard";
import { isAdmin } from "./session";

/** Serves the dashboard in Hono on Node. */
export function createHonoApp(backend: PostgresResultBackend): Hono<{ Bindings: HttpBindings }> {
  const app = new Hono<{ Bindings: HttpBindings }>();
  const dashboard = mountDashboard(backend, { basePath: "/admin/tasks", auth: isAdmin });
  app.get("/admin/tasks/*", ({ env }) => {
    dashboard(env.incoming, env.outgoing);
    return RESPONSE_ALREADY_SENT;
  });
  return app;
}
