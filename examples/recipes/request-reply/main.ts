// npx tsx examples/recipes/request-reply/main.ts
//
// Request and reply between two processes that share only the database: a question is stored under one id, its answer
// is awaited under another.

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { PostgresResultBackend, TaskFailedError } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../../support/database";
import { answerId, questionId, type Question, readyId } from "./protocol";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const responder = spawn(process.execPath, ["--import", "tsx", join(__dirname, "responder.ts")], {
    env: { ...process.env, DATABASE_URL: url, RECIPE_SCHEMA: schema },
    stdio: ["pipe", "inherit", "inherit"],
  });
  const exited = once(responder, "exit");
  try {
    await backend.wait(readyId, 30_000);
    for (const question of [
      { dividend: 84, divisor: 2 },
      { dividend: 1, divisor: 0 },
    ])
      await ask(backend, question);
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => request<number>(backend, { dividend: index, divisor: 1 })),
    );
    console.log(`A hundred at once: their sum is ${answers.reduce((sum, answer) => sum + answer)}.`);
  } finally {
    responder.stdin.end();
    await exited;
  }
}

async function ask(backend: PostgresResultBackend, question: Question): Promise<void> {
  const { dividend, divisor } = question;
  try {
    console.log(`${dividend} / ${divisor} = ${await request<number>(backend, question)}`);
  } catch (error) {
    if (!(error instanceof TaskFailedError)) throw error;
    console.log(`${dividend} / ${divisor}: ${error.failure.message}`);
  }
}

async function request<Answer>(backend: PostgresResultBackend, question: Question): Promise<Answer> {
  const id = randomUUID();
  await backend.store(questionId(id), question, { ttlMs: 60_000 });
  return backend.wait<Answer>(answerId(id), 10_000);
}

void withDatabase(main);
