import express, { type Express } from "express";
import type { PostgresResultBackend } from "kojin-postgres";
import { respond, sendResponse, sseGroup, sseTask } from "kojin-postgres/http";

/** Express 5, and 4, which ignores the promise of a handler: hence `catch(next)`. */
export function createExpressApp(backend: PostgresResultBackend): Express {
  const app = express();
  app.get("/tasks/:id", (req, res, next) => {
    sendResponse(res, (request) => respond(backend, req.params.id, { request, waitMs: 20_000, mustExist: true })).catch(
      next,
    );
  });
  app.get("/tasks/:id/events", (req, res, next) => {
    sendResponse(res, sseTask(backend, req.params.id, { request: req })).catch(next);
  });
  app.get("/groups/:id/events", (req, res, next) => {
    sendResponse(res, sseGroup(backend, req.params.id, { request: req })).catch(next);
  });
  return app;
}
