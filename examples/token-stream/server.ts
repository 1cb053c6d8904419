// Started by main.ts. It knows nothing of the pages that it serves, so it can be killed at any time.

import { createServer } from "node:http";
import { PostgresResultBackend } from "kojin-postgres";
import { sendResponse, sseTask } from "kojin-postgres/http";
import { page } from "./page";

async function main(): Promise<void> {
  const schema = process.env["RECIPE_SCHEMA"] ?? "public";
  const backend = await PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "", { schema });
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    if (pathname === "/") {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
    } else if (pathname === "/chunks") {
      // Check here whether the user may see this task.
      const taskId = searchParams.get("task") ?? "";
      const lastEventId = searchParams.get("after");
      sendResponse(response, (each) => sseTask(backend, taskId, { request: each, lastEventId, retryMs: 500 })).catch(
        () => response.destroy(),
      );
    } else {
      response.writeHead(404).end();
    }
  });
  server.listen(Number(process.env["PORT"]), "127.0.0.1");
}

void main();
