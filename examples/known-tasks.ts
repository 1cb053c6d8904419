// npx tsx examples/known-tasks.ts
//
// An API that starts tasks and answers for them: 202 while a task runs, 200 with its result, and 404 for an id that was
// never started. The client says how long it prefers to wait.

import { PostgresResultBackend } from "kojin-postgres";
import { respond, sendResponse } from "kojin-postgres/http";
import { type ExampleDatabase, withDatabase } from "./support/database";
import { WebServer } from "./support/web-server";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  await using server = await WebServer.start(async (request, response) => {
    const taskId = decodeURIComponent((request.url ?? "").slice("/tasks/".length));
    // Waits for up to ten seconds, or for less if the client sends `Prefer: wait=1`.
    const answer = await respond(backend, taskId, { waitMs: 10_000, mustExist: true, request });
    await sendResponse(response, answer);
  });
  const ask = async (taskId: string, wait: number): Promise<void> => {
    const answer = await fetch(`${server.url}/tasks/${taskId}`, { headers: { prefer: `wait=${wait}` } });
    console.log(`${taskId}: ${answer.status} ${await answer.text()}`);
  };

  // Before the task is enqueued; with `{ client }` in the same transaction.
  await backend.expect("report-7");
  await ask("report-7", 0);
  await ask("report-8", 5);
  const asked = ask("report-7", 5);
  await backend.store("report-7", { pages: 12 });
  await asked;
}

void withDatabase(main);
