import fastify, { type FastifyInstance } from "fastify";
import type { PostgresResultBackend } from "kojin-postgres";
import { mountDashboard } from "kojin-postgres/dashboard";
import { isAdmin } from "./session";

/** Serves the dashboard in Fastify 5. */
export function createFastifyApp(backend: PostgresResultBackend): FastifyInstance {
  const app = fastify();
  const dashboard = mountDashboard(backend, { basePath: "/admin/tasks", auth: isAdmin });
  for (const path of ["/admin/tasks", "/admin/tasks/*"])
    app.get(path, (request, reply) => {
      // The dashboard answers through node:http.
      reply.hijack();
      dashboard(request.raw, reply.raw);
    });
  return app;
}
