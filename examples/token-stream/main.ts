// npx tsx examples/token-stream/main.ts
//
// A language model, here some sentences, answers a question. Its tokens are streamed to any number of browsers. Open
// the printed address in two of them and reload one. The web server is restarted every few seconds. No page misses a
// token or shows one twice.

import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { PostgresResultBackend } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { answer } from "./model";

const port = process.env["PORT"] ?? "8787";
const tokenMs = Number(process.env["TOKEN_MS"] ?? 200);
const restartMs = 20 * tokenMs;
const text = "Rows are durable. A browser that comes back reads what it has missed, and goes on where it was. ".repeat(
  8,
);

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const taskId = `answer:${randomUUID()}`;
  const env = { ...process.env, DATABASE_URL: url, RECIPE_SCHEMA: schema, PORT: port };
  console.log(`Open http://127.0.0.1:${port}/?task=${taskId}`);

  const answered = new AbortController();
  const answering = answer(backend, taskId, tokens()).finally(() => answered.abort());
  let servers = 0;
  while (!answered.signal.aborted) {
    const server = startServer(env);
    servers += 1;
    // Rejects as soon as the answer is complete.
    await sleep(restartMs, undefined, { signal: answered.signal }).catch(() => undefined);
    server.kill("SIGKILL");
    await once(server, "exit");
  }
  const { length } = await answering;
  console.log(`The model has answered with ${length} characters, past ${servers} web servers.`);
}

async function* tokens(): AsyncGenerator<string> {
  for (const token of text.match(/\S+\s/g) ?? []) {
    await sleep(tokenMs);
    yield token;
  }
}

function startServer(env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(process.execPath, ["--import", "tsx", join(__dirname, "server.ts")], { env, stdio: "inherit" });
}

void withDatabase(main);
