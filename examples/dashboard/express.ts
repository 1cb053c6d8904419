import express, { type Express } from "express";
import type { PostgresResultBackend } from "kojin-postgres";
import { mountDashboard } from "kojin-postgres/dashboard";
import { isAdmin } from "./session";

/** Serves the dashboard in Express 4 or 5. */
export function createExpressApp(backend: PostgresResultBackend): Express {
  const app = express();
  app.use("/admin/tasks", mountDashboard(backend, { basePath: "/admin/tasks", auth: isAdmin }));
  return app;
}
