// npx tsx examples/dashboard/main.ts
//
// Serves the dashboard as a part of an Express, a Fastify, a Hono and a NestJS server, and sends requests to each: as a
// visitor who is not logged in, and as an administrator, who opens the page and follows its events.

import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { PostgresResultBackend } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { createExpressApp } from "./express";
import { createFastifyApp } from "./fastify";
import { createHonoApp } from "./hono";
import { createNestApp } from "./nest";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  await backend.store("report-7", { pages: 12 });

  await visit("Express", createServer(createExpressApp(backend)).listen(0));

  const fastify = createFastifyApp(backend);
  await fastify.listen({ port: 0 });
  await visit("Fastify", fastify.server);

  await visit("Hono", serve({ fetch: createHonoApp(backend).fetch, port: 0 }) as Server);

  const nest = await createNestApp(backend);
  await nest.listen(0);
  await visit("NestJS", nest.getHttpServer() as Server);
}

async function visit(framework: string, server: Server): Promise<void> {
  if (!server.listening) await once(server, "listening");
  const page = `http://127.0.0.1:${(server.address() as AddressInfo).port}/admin/tasks`;
  const headers = { cookie: "session=admin" };
  const visitor = await fetch(page);
  const admin = await fetch(page, { headers });
  const title = /<title>(.*)<\/title>/.exec(await admin.text())?.[1] ?? "no title";
  const state = await firstState(await fetch(`${page}/events`, { headers }));
  console.log(`${framework}: ${visitor.status} for a visitor, ${admin.status} and "${title}" for an admin`);
  console.log(`  the page shows ${state.results.map(({ taskId }) => taskId).join(", ")}`);
  server.close();
  server.closeAllConnections();
}

interface State {
  readonly results: readonly { readonly taskId: string }[];
}

/** Reads events until the first with results, and closes the connection. */
async function firstState({ body }: Response): Promise<State> {
  let text = "";
  for await (const chunk of (body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split("\n").slice(0, -1);
    const states = lines.filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)) as State);
    const ready = states.find(({ results }) => (results as State["results"] | null) !== null);
    if (ready !== undefined) return ready;
  }
  throw new Error("The stream of events ended.");
}

void withDatabase(main);
