// npx tsx examples/recipes/cancellation.ts
//
// A visitor leaves before the answer is there. The wait ends at once, and so does the work: the web server stores that
// the task is cancelled, and the worker awaits that result while it works.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskFailedError } from "kojin-postgres";
import { PostgresResultBackend } from "kojin-postgres";
import { answerWhenDone, untilGone } from "../support/answer";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { WebServer } from "../support/web-server";

const cancellationOf = (taskId: string): string => `cancel:${taskId}`;

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using web = await PostgresResultBackend.connect(url, { schema });
  await web.migrate();
  // Usually in another process.
  await using worker = await PostgresResultBackend.connect(url, { schema });
  const started = new EventTarget();

  await using server = await WebServer.start(async (request, response) => {
    const signal = untilGone(response);
    const taskId = randomUUID();
    const durationMs = Number(request.url?.slice(1));
    void work(worker, taskId, durationMs);
    started.dispatchEvent(new CustomEvent("task", { detail: taskId }));
    await answerWhenDone(web, taskId, response, { timeoutMs: 30_000, signal });
    // Kept for as long as a task may stay in the queue.
    if (!response.writableEnded) await web.store(cancellationOf(taskId), true, { ttlMs: 3_600_000 });
  });

  const patient = await fetch(`${server.url}/50`);
  console.log(`The patient visitor got ${await patient.text()}.`);

  const leaving = new AbortController();
  const next = once(started, "task") as Promise<[CustomEvent<string>]>;
  const left = fetch(`${server.url}/60000`, { signal: leaving.signal }).catch(() => undefined);
  const [{ detail: taskId }] = await next;
  leaving.abort();
  await left;
  const outcome = await web.waitSettled(taskId, 10_000);
  if (outcome.status === "fulfilled") throw new Error("The task went on.");
  const { message } = (outcome.reason as TaskFailedError).failure;
  console.log(`The other one left after a moment, and the task of a minute ended: ${message}.`);
}

/** Works until the task is done or cancelled, and stores the outcome. */
async function work(backend: PostgresResultBackend, taskId: string, durationMs: number): Promise<void> {
  const isOver = new AbortController();
  const cancelled = new AbortController();
  const listening = backend.wait(cancellationOf(taskId), { timeoutMs: Infinity, signal: isOver.signal }).then(
    () => cancelled.abort(new Error("the visitor has left")),
    () => undefined, // the task was over first
  );
  try {
    const [outcome] = await Promise.allSettled([makeReport(durationMs, cancelled.signal)]);
    // Only a rejection of the task itself counts as its failure, not a rejection of `store`.
    if (outcome.status === "fulfilled") await backend.store(taskId, outcome.value);
    else await backend.fail(taskId, outcome.reason);
  } finally {
    isOver.abort();
    await listening;
  }
}

/** Stands for work that can be aborted, as `fetch` and queries can. */
async function makeReport(durationMs: number, signal: AbortSignal): Promise<string> {
  try {
    await sleep(durationMs, undefined, { signal });
  } catch {
    signal.throwIfAborted();
  }
  return `a report of ${durationMs} ms`;
}

void withDatabase(main);
