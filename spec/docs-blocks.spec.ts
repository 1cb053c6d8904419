import { once } from "node:events";
import { get, type ClientRequest, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { PostgresResultBackend } from "kojin-postgres";
import { type DocsBlock, docsBlocks, freePort, RunningBlock } from "./support/docs-block";
import { eventually } from "./support/eventually";
import { ownDatabase } from "./support/own-database";

const blocks = docsBlocks([
  "README.md",
  "docs/http.md",
  "docs/guide.md",
  "docs/recipes.md",
  "docs/operators.md",
  "docs/groups.md",
]);
const blockWith = (file: string, ...texts: string[]): DocsBlock => {
  const found = blocks.filter((each) => each.file === file && texts.every((one) => each.code.includes(one)));
  expect(found).toHaveLength(1);
  return found[0] as DocsBlock;
};

// Code for what the blocks only declare. It ends their process with the standard input, after the backend is closed.
const declared = `
Object.assign(globalThis, { enqueue: async () => undefined, answer: async (question) => question });
`;
const closing = `
process.once("SIGTERM", () => void backend.close());
process.stdin.once("end", () => process.exit()).resume();
`;
const hono = `
import { serve } from "@hono/node-server";
serve({ fetch: app.fetch, port: 3000 });
`;
const next = `
import { Hono } from "hono";
const app = new Hono();
app.get("/tasks/:id", (c) => GET(c.req.raw, { params: Promise.resolve({ id: c.req.param("id") }) }));
${hono}`;
const progressPage = `
import { createServer } from "node:http";
import { PostgresResultBackend } from "kojin-postgres";
const backend = await PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "");
createServer((request, response) => {
  if (request.url?.startsWith("/tasks/known")) response.end("[1]");
  else streamProgress(backend, "open", response);
}).listen(3000);
`;

/**
 * Blocks that answer requests: their file, a text that identifies each, and code that starts the server if the block
 * does not.
 */
const servers: [name: string, file: string, text: string, start: string, replaced?: [string, string]][] = [
  ["README", "README.md", "listen(3000)", ""],
  ["Hono", "docs/http.md", "new Hono()", hono],
  ["Next", "docs/http.md", "export async function GET", next],
  ["Fastify", "docs/http.md", "fastify()", `await app.listen({ port: 3000 });`],
  ["Express 5", "docs/http.md", "express()", `app.listen(3000);`],
  ["Express 4", "docs/http.md", "express()", `app.listen(3000);`, [`from "express"`, `from "express4"`]],
  ["node:http", "docs/http.md", "listen(3000)", ""],
  ["The HTTP side", "docs/recipes.md", "listen(3000)", ""],
  ["Progress in a page", "docs/recipes.md", "export function streamProgress", progressPage],
];

/** Blocks that subscribe at their top level. */
const subscriptions: [name: string, file: string, text: string][] = [
  ["README", "README.md", ".subscribe("],
  ["Streams of the guide", "docs/guide.md", ".subscribe("],
  ["A reactive pipeline", "docs/recipes.md", "totals$"],
  ["Request and reply", "docs/recipes.md", "question:"],
  ["awaitResults", "docs/operators.md", "pipe(awaitResults"],
  ["From ids to a sum", "docs/operators.md", "groupBy("],
  ["Watching groups", "docs/groups.md", ".groupMembers$<"],
  ["Claiming groups", "docs/groups.md", "groupCompletions$"],
];

/** Blocks of workers, with the code that calls `work` with a task. */
const workers: [name: string, file: string, text: string, call: (task: string) => string][] = [
  ["README", "README.md", "export async function work", (task) => `work(taskId, ${task})`],
  ["Store", "docs/guide.md", "await backend.store(taskId, await task())", (task) => `work(taskId, ${task})`],
  ["Failures", "docs/guide.md", "isLastAttempt", (task) => `work(taskId, true, ${task})`],
  [
    "Cancellation",
    "docs/recipes.md",
    "makeReport(cancelled.signal)",
    (task) => `(globalThis.makeReport = ${task}, work(taskId))`,
  ],
];

describe("blocks of the documentation", () => {
  const url = ownDatabase("docs_blocks");
  const env = { DATABASE_URL: url };
  let backend: PostgresResultBackend;
  let running: RunningBlock | undefined;
  const start = (code: string, more: NodeJS.ProcessEnv = {}): RunningBlock =>
    (running = new RunningBlock(code, { ...env, ...more }));

  beforeAll(async () => {
    backend = await PostgresResultBackend.connect(url);
    await backend.migrate();
    // The README takes the whole path for the id, without its first slash.
    for (const id of ["known", "tasks/known"]) await backend.store(id, [1]);
    await backend.fail("thumbnail:9", new Error("no such image"));
    await backend.initGroup("open", 2);
    await backend.initGroup("album-7", 1);
    await backend.completeGroupMember("album-7", "a", { bytes: 1 });
  });
  afterEach(async () => {
    await running?.kill();
    running = undefined;
  });
  afterAll(async () => {
    await backend.close();
  });

  it("are all in the lists here, as far as they answer requests", () => {
    const answering = blocks.filter(({ code }) => /listen\(3000\)|\bapp = |function GET/.test(code));
    const listed = servers.map(([, file, text]) => blockWith(file, text));
    const shutdown = blockWith("docs/guide.md", "listen(3000)", "SIGTERM");
    expect(answering.filter((each) => !listed.includes(each))).toEqual([shutdown]);
  });

  it.each(servers)(
    "answer whatever is sent, and outlive clients and the backend: %s",
    async (_name, file, text, more, replaced = ["", ""]) => {
      const port = await freePort();
      const code = `${declared}${blockWith(file, text).code.replace(...replaced)}${more}${closing}`;
      const block = start(code.replaceAll("3000", String(port)));
      const client = new Requests(port);
      await eventually(() => client.known(), { timeoutMs: 30_000 });

      const hostile = [
        "/%E0%A4%A",
        "/tasks/%E0%A4%A",
        "/tasks/%E0%A4%A?x",
        "/tasks/%00",
        "/groups/%E0%A4%A/events",
        "//",
      ];
      const leaving = [...hostile, "/tasks/never", "/tasks/never/events", "/groups/open/events", "/?%E0%A4%A"];
      const sent = await Promise.all(leaving.map(async (path) => client.send(path)));
      await client.known();
      for (const { request } of sent) request.destroy();
      await client.known();

      // The remaining requests are open when the backend closes.
      const open = await Promise.all(["/tasks/late", "/tasks/late/events", "/groups/open/events"].map(client.send));
      await client.known();
      block.terminate();
      for (const { answer } of open) await answer;
      block.endInput();
      expect({ output: block.output, exitCode: await block.ended }).toMatchObject({ exitCode: 0 });
    },
  );

  it("wait for the id that a worker stores: README", async () => {
    const port = await freePort();
    const block = start(blockWith("README.md", "listen(3000)").code.replaceAll("3000", String(port)));
    const client = new Requests(port);
    await eventually(() => client.known(), { timeoutMs: 30_000 });
    for (const id of ["email-42", "100 % ü/7"]) {
      const { answer } = await client.send(`/${encodeURIComponent(id)}?page=2`);
      await backend.store(id, id);
      expect(await answer).toBe(JSON.stringify(id));
    }
    await block.kill();
  });

  it.each(subscriptions)(
    "end in good order when the backend closes under a subscription: %s",
    async (_name, file, text) => {
      const block = start(`${declared}${blockWith(file, text).code}
      process.once("SIGTERM", () => void backend.close());
      await backend.ready();
      console.log("subscribed");`);
      await eventually(() => expect(block.output).toContain("subscribed"), { timeoutMs: 30_000 });
      block.terminate();
      // The process ends by itself only if no timer, socket or error is left.
      expect({ output: block.output, exitCode: await block.ended }).toMatchObject({ exitCode: 0 });
    },
  );

  it("end with the signal that the guide awaits", async () => {
    const port = await freePort();
    const { code } = blockWith("docs/guide.md", "listen(3000)", "SIGTERM");
    const block = start(`${code.replaceAll("3000", String(port))}
      await backend.ready();
      console.log("listening");`);
    await eventually(() => expect(block.output).toContain("listening"), { timeoutMs: 30_000 });
    block.terminate();
    expect({ output: block.output, exitCode: await block.ended }).toMatchObject({ exitCode: 0 });
  });

  it.each(workers)("do not take a store that failed for a task that failed: %s", async (worker, file, text, call) => {
    const [unstored, stored] = [`${worker} cannot be stored`, `${worker} is stored`];
    // JSON has no BigInt, so `store` rejects.
    const block = start(`${blockWith(file, text).code}
      const run = async (taskId: string) => ${call("async () => (taskId.endsWith('cannot be stored') ? 1n : 1)")};
      console.log(await run(${JSON.stringify(unstored)}).then(() => "resolved", (error) => error.name));
      console.log(await run(${JSON.stringify(stored)}).then(() => "resolved", (error) => error.name));
      await backend.close();`);
    expect({ output: block.output, exitCode: await block.ended }).toMatchObject({ exitCode: 0 });
    expect(block.output).toMatch(/ResultEncodingError\nresolved\n$/);
    expect(await backend.getSettled(unstored)).toBeUndefined();
    expect(await backend.get(stored)).toBe(1);
  });
});

class Requests {
  constructor(readonly port: number) {}

  /** Resolves when the request is sent. `answer` resolves when the answer is complete or was cut off. */
  readonly send = async (path: string): Promise<{ request: ClientRequest; answer: Promise<string> }> => {
    const request = get({ port: this.port, path, agent: false, headers: { accept: "*/*" } });
    const answer = once(request, "response").then(
      async ([response]) => text(response as IncomingMessage).catch(String),
      String,
    );
    await Promise.race([once(request, "finish"), answer]);
    return { request, answer };
  };

  async known(): Promise<void> {
    const { answer } = await this.send("/tasks/known?page=2&x=%E0%A4%A");
    expect(await answer).toBe("[1]");
  }
}
