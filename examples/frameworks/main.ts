// npx tsx examples/frameworks/main.ts
//
// Serves results over Express, Fastify, Hono and NestJS, and sends requests to each: for a result, for tasks that do
// not exist or have failed, for the chunks of a running task, and for the progress of a group.

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { PostgresResultBackend } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { createExpressApp } from "./express";
import { createFastifyApp } from "./fastify";
import { createHonoApp } from "./hono";
import { createNestApp } from "./nest/app";

async function main(database: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(database.url, { schema: database.schema });
  await backend.migrate();

  const express = createServer(createExpressApp(backend)).listen(0);
  await visit("Express", express, backend);
  express.close();

  const fastify = createFastifyApp(backend);
  await fastify.listen({ port: 0 });
  await visit("Fastify", fastify.server, backend);
  await fastify.close();

  const hono = serve({ fetch: createHonoApp(backend).fetch, port: 0 }) as Server;
  await visit("Hono", hono, backend);
  hono.close();

  const nest = await createNestApp(database);
  await nest.listen(0);
  await visit("NestJS", nest.getHttpServer() as Server, backend);
  // Closes the backend of its module, too.
  await nest.close();
}

async function visit(framework: string, server: Server, worker: PostgresResultBackend): Promise<void> {
  if (!server.listening) await once(server, "listening");
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const [task, running, group] = [`${framework} report`, `${framework} answer`, `${framework} book`];
  console.log(framework);

  await worker.store(task, { pages: 12 });
  const found = await fetch(`${address}/tasks/${encodeURIComponent(task)}`);
  console.log(`  ${found.status} ${await found.text()}`);
  const unknown = await fetch(`${address}/tasks/unknown`);
  console.log(`  ${unknown.status} for a task that does not exist`);
  await worker.fail(`${framework} failure`, new Error("not for clients"));
  const failed = await fetch(`${address}/tasks/${encodeURIComponent(`${framework} failure`)}`);
  console.log(`  ${failed.status} for a task that failed: ${((await failed.json()) as { detail: string }).detail}`);

  const chunks = await fetch(`${address}/tasks/${encodeURIComponent(running)}/events`);
  for (const token of ["never ", "polls"]) await worker.emit(running, { token });
  await worker.store(running, "done");
  console.log(`  chunks: ${(await eventsOf(chunks, "chunk")).map(({ token }) => token).join("")}`);

  const progress = await fetch(`${address}/groups/${encodeURIComponent(group)}/events`);
  await worker.initGroup(group, ["page-1", "page-2"]);
  for (const page of ["page-1", "page-2"]) await worker.completeGroupMember(group, page, page);
  const [last] = await eventsOf(progress, "done");
  console.log(`  group: ${last?.completed} of ${last?.total}`);
}

interface EventData {
  readonly token?: string;
  readonly completed?: number;
  readonly total?: number;
}

/** Reads a stream of server-sent events to its end, and returns the data of those of one type. */
async function eventsOf(response: Response, type: string): Promise<EventData[]> {
  const events = (await response.text()).split("\n\n").map((event) => event.split("\n"));
  return events
    .filter((lines) => lines.includes(`event: ${type}`))
    .map((lines) => JSON.parse(lines.find((line) => line.startsWith("data: "))?.slice(6) ?? "{}") as EventData);
}

void withDatabase(main);
