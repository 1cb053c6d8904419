import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { serve } from "@hono/node-server";
import { MikroORM, PostgreSqlDriver } from "@mikro-orm/postgresql";
import { Hono } from "hono";
import PgBoss from "pg-boss";
import { firstValueFrom } from "rxjs";
import { respond, sendResponse } from "../../lib/http";
import { PostgresResultBackend } from "../../lib/index";
import { eventually } from "../../spec/support/eventually";
import type { Names, Scene, Stage } from "./run-code";
import { serves } from "./serving";

const root = join(__dirname, "..", "..");

/** A scene in which other processes have stored these results. */
const stored = (results: Readonly<Record<string, unknown>>): Scene => ({
  before: async ({ backend }) => Promise.all(Object.entries(results).map(async (each) => backend.store(...each))),
});

/** A scene that calls `work` of a block. A result that cannot be stored must not become the failure of the task. */
const works = (call: (names: Names, taskId: string, task: () => Promise<unknown>) => unknown): Scene => ({
  after: async (names, { backend }) => {
    // JSON has no BigInt, so `store` rejects.
    await assert.rejects(async () => call(names, "unstored", async () => Promise.resolve(1n)), {
      code: "RESULT_ENCODING",
    });
    assert.equal(await backend.getSettled("unstored"), undefined);
    await call(names, "stored", async () => Promise.resolve(1));
    assert.equal(await backend.get("stored"), 1);
  },
});

const makeThumbnail = async (): Promise<object> => Promise.resolve({ url: "/a.png" });

/** Has a queue of pg-boss whose worker knows nothing of results. */
async function startPgBoss({ url, backend }: Stage): Promise<void> {
  const boss = new PgBoss(url);
  await boss.start();
  await boss.createQueue("thumbnails");
  await backend.attachQueue("pg-boss");
  await boss.work("thumbnails", { pollingIntervalSeconds: 0.5 }, makeThumbnail);
}

/** Calls what the block does at SIGTERM, and not what other listeners of this process do. */
function terminate(): void {
  process.listeners("SIGTERM").at(-1)?.("SIGTERM");
}

/** A scene that has run a statement. */
const sql = (text: string): Scene => ({ before: async ({ pool }) => pool.query(text) });

/** The least of a Prisma client. */
const prisma = ({ pool }: Stage): object => ({
  $transaction: async (work: (tx: object) => Promise<void>) => {
    const client = await pool.connect();
    await client.query("begin");
    await work({
      order: { create: async () => Promise.resolve({}) },
      $queryRawUnsafe: async (text: string, ...values: unknown[]) => (await client.query(text, values)).rows as unknown,
      $executeRawUnsafe: async (text: string, ...values: unknown[]) => (await client.query(text, values)).rowCount,
    });
    await client.query("commit");
    client.release();
  },
});

async function completeGroup({ backend }: Stage, groupId: string, results: Record<string, unknown>): Promise<void> {
  await backend.initGroup(groupId, Object.keys(results));
  for (const [taskId, result] of Object.entries(results)) await backend.completeGroupMember(groupId, taskId, result);
}

async function* tokens(): AsyncGenerator<string> {
  yield* await Promise.resolve(["Hello", " ", "world"]);
}

/** Blocks by their keys. One that is not listed needs nothing around it. */
export const scenes: Readonly<Record<string, Scene>> = {
  "README.md#two-processes": works(async ({ work }, id, task) => work(id, task)),
  "README.md#two-processes/2": serves(),
  "README.md#groups": {
    before: async (stage) => completeGroup(stage, "book-7", { "page-1": {}, "page-2": {}, "page-3": {} }),
  },
  "README.md#await-the-jobs-you-have": { before: startPgBoss },
  "docs/api.md#streams": { after: async (_, { backend }) => backend.store("upload:1", { bytes: 1 }) },

  "docs/attach.md#await-the-jobs-you-already-have/2": { before: startPgBoss },
  "docs/attach.md#options": { before: startPgBoss },

  "docs/attach.md#await-the-jobs-you-already-have": { before: startPgBoss },
  "docs/attach.md#rights": sql("create role boss; create role kojin_storer; "),

  "docs/chunks.md#chunks": { after: async ({ answer }) => answer("answer-1", tokens()) },
  "docs/chunks.md#following": {
    after: async ({ resume }, { backend }) => {
      await backend.emit("answer-1", "Hello");
      assert.equal((await firstValueFrom<{ value: string }>(resume(backend, "answer-1", undefined))).value, "Hello");
    },
  },
  "docs/chunks.md#following/2": {
    after: async ({ send }, { backend }) => {
      await backend.emit("answer-1", "Hello");
      await backend.store("answer-1", "Hello");
      let sent = "";
      await send(backend, async (text: string) => Promise.resolve((sent += text)));
      assert.equal(sent, "Hello");
    },
  },
  "docs/chunks.md#following/3": {
    after: async ({ percents }, { backend }) => {
      await backend.emit("import", { percent: 10 });
      const { value } = await firstValueFrom<{ value: object }>(percents(backend, "import"));
      assert.deepEqual(value, { percent: 10 });
    },
  },
  "docs/chunks.md#restarts": { after: async ({ work }, { backend }) => work(backend, { id: "a", attempt: 2 }) },

  "docs/cli.md#the-database": stored({ "email-42": 1 }),
  "docs/cli.md#store": { files: { "report.json": "[1]" } },
  "docs/cli.md#attach": {
    before: async (stage) => {
      await startPgBoss(stage);
      await new PgBoss({ connectionString: stage.url, schema: "jobs" }).start();
      await stage.pool.query("create schema results");
      const results = await PostgresResultBackend.connect(stage.url, { schema: "results" });
      await results.migrate();
      await results.close();
    },
  },

  "docs/groups.md#failures-and-retries": {
    before: async ({ backend }) => {
      await backend.initGroup("album", 1);
      await backend.failGroupMember("album", "a", new Error("no"));
    },
    after: async ({ resultsOf }) => assert.deepEqual(await resultsOf("album", async () => Promise.resolve(1)), [1]),
  },
  "docs/groups.md#watching": { before: async (stage) => completeGroup(stage, "album-7", { a: { bytes: 1 } }) },
  "docs/groups.md#callbacks-that-run-exactly-once": {
    after: async (_, stage) => {
      await completeGroup(stage, "album-7", { a: 1 });
      await eventually(async () => assert.equal((await stage.pool.query("select from callbacks")).rowCount, 1));
    },
  },

  "docs/guide.md#store": works(async ({ work }, id, task) => work(id, task)),
  "docs/guide.md#wait": {
    before: async ({ backend }) => {
      await backend.store("thumbnail:7", { url: "/7.png" });
    },
    after: async ({ thumbnail, waiting }, { backend }) => {
      assert.equal(thumbnail.url, "/7.png");
      await backend.store("thumbnail:8", { url: "/8.png" });
      await waiting;
    },
  },
  "docs/guide.md#failures": {
    before: async ({ backend }) => backend.fail("thumbnail:9", new Error("no such image")),
    ...works(async ({ work }, id, task) => work(id, true, task)),
  },
  "docs/guide.md#groups": {
    before: async ({ backend }) => backend.completeGroupMember("report-7", "north", { sales: 1 }),
  },
  "docs/guide.md#streams": { after: async (_, { backend }) => backend.fail("thumbnail:9", new Error("no")) },
  "docs/guide.md#shutting-down": {
    after: async ({ server }) => {
      terminate();
      await eventually(() => assert.equal(server.listening, false));
    },
  },

  "docs/http.md#in-your-framework": serves("/tasks/known", ({ app }, { port }) => serve({ fetch: app.fetch, port })),
  "docs/http.md#in-your-framework/2": serves("/tasks/known", ({ GET }, { port }) => {
    const app = new Hono();
    app.get("/tasks/:id", async (c) => GET(c.req.raw, { params: Promise.resolve({ id: c.req.param("id") }) }));
    serve({ fetch: app.fetch, port });
  }),
  "docs/http.md#in-your-framework/3": serves("/tasks/known", async ({ app }, { port }) => app.listen({ port })),
  "docs/http.md#in-your-framework/4": serves("/tasks/known", ({ app }, { port }) => app.listen(port)),
  "docs/http.md#in-your-framework/5": serves(),
  "docs/http.md#respond/2": {
    before: ({ backend, port }) =>
      createServer(
        (_, response) => void sendResponse(response, (request) => respond(backend, "a", { request, waitMs: 1_000 })),
      ).listen(port),
  },
  "docs/http.md#respond": {
    after: async ({ answer }, { backend }) => {
      for (const [name, status] of [
        ["ValidationError", 422],
        ["Error", 500],
      ] as const) {
        await backend.fail(name, Object.assign(new Error("no"), { name }));
        assert.equal((await answer(backend, name, new Request("http://localhost"))).status, status);
      }
    },
  },
  "docs/http.md#respond/3": {
    after: async ({ fetchResult }, { port }) => {
      let requests = 0;
      const server = createServer((_, response) => {
        requests += 1;
        response.writeHead(requests === 1 ? 202 : 200, { "retry-after": "0" }).end("[1]");
      }).listen(port);
      assert.deepEqual(await fetchResult(`http://localhost:${port}`), [1]);
      server.close();
    },
  },
  "docs/http.md#events": {
    after: async ({ chunks }, { backend }) => {
      await backend.emit("answer-1", "Hello");
      await backend.store("answer-1", "Hello");
      const response: Response = chunks(backend, "answer-1", new Request("http://localhost?after="));
      assert.match(await response.text(), /event: chunk/);
    },
  },

  "docs/migrating.md#from-polling": {
    before: async ({ pool }) => pool.query(`insert into reports values ('7', 'done', '"pages"')`),
    after: async ({ waitForReport }) => assert.equal(await waitForReport("7", 1_000), "pages"),
  },
  "docs/migrating.md#from-polling/2": {
    ...stored({ "report:7": "pages" }),
    after: async ({ waitForReport }) => assert.equal(await waitForReport("7", 1_000), "pages"),
  },
  "docs/migrating.md#from-polling/3": {
    after: async ({ finishReport }, { backend }) => {
      await finishReport("7", "pages");
      assert.deepEqual(await backend.get("report:7"), { ready: true });
    },
  },

  "docs/operations.md#what-to-watch": {
    after: async (_, { port }) => {
      const response = await eventually(async () => fetch(`http://localhost:${port}`));
      assert.equal(response.status, 200);
    },
  },

  "docs/operations.md#copying-or-moving-a-schema": {
    before: async ({ url, pool }) => {
      for (const schema of ["old_schema", "new_schema"]) {
        await pool.query(`create schema ${schema}`);
        const backend = await PostgresResultBackend.connect(url, { schema });
        await backend.migrate();
        await backend.close();
      }
    },
  },

  "docs/operators.md#awaitresults": stored({ "page-1": { words: 1 } }),
  "docs/operators.md#settleresults": stored({ "page-1": { words: 1 }, "page-2": { words: 2 }, "page-3": { words: 3 } }),

  "docs/recipes.md#the-http-side": { globals: { enqueue: async () => Promise.resolve() }, ...serves() },
  "docs/recipes.md#a-job-of-pg-boss": { globals: { makeThumbnail } },
  "docs/recipes.md#a-job-of-graphile-worker": { globals: { makeThumbnail } },
  "docs/recipes.md#a-job-of-bullmq": { globals: { makeThumbnail } },
  "docs/recipes.md#a-job-of-another-queue": {
    globals: { makeThumbnail },
    after: async ({ handle }, { backend }) => {
      await handle({ MessageId: "1", Body: "a.png", Attributes: { ApproximateReceiveCount: "1" } });
      assert.deepEqual(await backend.get("1"), { url: "/a.png" });
    },
  },
  "docs/recipes.md#cancellation-when-the-client-disconnects": {
    after: async (names, stage) => {
      const call = works(async ({ work }, id, task) => {
        Object.assign(globalThis, { makeReport: task });
        return work(id);
      });
      await call.after?.(names, stage);
      await names["cancel"]("left");
      assert.equal(await stage.backend.get("cancel:left"), true);
    },
  },
  "docs/recipes.md#progress-of-a-group-in-a-page": serves("/tasks/known", ({ streamProgress }, { backend, port }) =>
    createServer((request, response) => {
      if (request.url?.startsWith("/tasks/known") === true) response.end("[1]");
      else streamProgress(backend, "open", response);
    }).listen(port),
  ),
  "docs/recipes.md#a-reactive-pipeline": {
    after: async (_, { backend }) =>
      Promise.all(["walk:1", "walk:2", "torn:1"].map(async (id) => backend.store(id, 1))),
  },
  "docs/recipes.md#request-and-reply": {
    globals: { answer: async (question: unknown) => Promise.resolve(question) },
    after: async ({ request }) => assert.equal(await request("why?"), "why?"),
  },
  "docs/recipes.md#a-rust-worker-as-the-producer/2": {
    before: async (stage) => {
      await stage.backend.store("resize-1", 1);
      await completeGroup(stage, "album", { a: 1 });
    },
  },

  "docs/relay.md#in-your-own-process": { after: () => terminate() },
  "docs/security.md#roles": { files: { "roles.sql": readFileSync(join(root, "sql", "roles.sql"), "utf8") } },
  "docs/security.md#roles/3": stored({ "email-42": 1 }),

  "docs/serverless.md#a-function-that-stores": {
    after: async ({ handler }, { backend }) => {
      await handler({ taskId: "email-42" });
      assert.deepEqual(await backend.get("email-42"), { done: true });
    },
  },
  "docs/serverless.md#a-function-that-waits": {
    ...stored({ "email-42": [1] }),
    after: async ({ GET }) => {
      assert.deepEqual(await (await GET(new Request("http://localhost?task=email-42"))).json(), [1]);
    },
  },

  "docs/transactions.md#prisma": { before: (stage) => Object.assign(globalThis, { prisma: prisma(stage) }) },
  "docs/transactions.md#mikroorm": {
    after: async ({ pay }, { backend, url }) => {
      const orm = await MikroORM.init({
        driver: PostgreSqlDriver,
        clientUrl: url,
        entities: [],
        discovery: { warnWhenNoEntities: false },
      });
      await pay(orm.em.fork(), backend);
      assert.deepEqual(await backend.get("order-1"), { amount: 20 });
      await orm.close();
    },
  },

  "docs/types.md#schemas": {
    before: async (stage) => {
      const invoice = { total: 20, paidAt: "2026-07-01" };
      await stage.backend.store("invoice-7", invoice);
      await completeGroup(stage, "invoices", { a: invoice });
    },
  },
};

/** Values for the placeholders of SQL blocks, for each of their statements. */
export const sqlParameters: Readonly<Record<string, readonly (readonly unknown[])[]>> = {
  "docs/recipes.md#a-rust-worker-as-the-producer": [
    ["resize-1", "1"],
    ["album", "album:placeholder:0"],
    ["album", "a", "1"],
  ],
};
