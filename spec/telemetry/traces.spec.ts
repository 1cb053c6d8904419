import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type SpanContext, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AlwaysOffSampler } from "@opentelemetry/sdk-trace-base";
import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { messageOf } from "../support/processes";
import { specDatabase } from "../support/spec-database";
import { Sdk } from "./support/sdk";

describe("traces", () => {
  const database = specDatabase("traces");
  const destination = `${database.schema}.kojin_results`;
  const table = `${escapeIdentifier(database.schema)}.kojin_results`;
  const [store, fail, wait] = [`store ${destination}`, `fail ${destination}`, `wait ${destination}`];
  const common = { "messaging.system": "kojin_postgres", "messaging.destination.name": destination };
  let sdk: Sdk;
  let storing: PostgresResultBackend;
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    sdk = new Sdk();
    sdk.start();
    storing = await database.open({ telemetry: true });
    waiting = await database.open({ telemetry: { metrics: false } });
    await waiting.ready();
  });
  afterEach(async () => sdk.stop());

  const contextOf = async (taskId: string): Promise<string | null | undefined> => {
    const [row] = await database.sql<{ trace_context: string | null }>(
      `select trace_context from ${table} where task_id = $1`,
      [taskId],
    );
    return row?.trace_context;
  };

  it("link a wait to the store in another process, each in its own trace", async () => {
    const waited = trace.getTracer("web").startActiveSpan("request", async (span) => {
      const result = await waiting.wait("across", 30_000);
      span.end();
      return result;
    });
    await eventually(() => expect(waiting.stats().reads).toMatchObject({ statements: 1, inFlight: 0 }));
    const child = fork(join(__dirname, "fixtures", "stores-traced.ts"), ["across"], {
      execArgv: ["--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
    });
    const told = await messageOf<{ store: SpanContext; parent: string; work: string }>(child);
    child.disconnect();
    await once(child, "exit");
    expect(await waited).toEqual({ size: 1 });
    const span = sdk.spanOf(wait, "across");
    expect(span.links.map(({ context }) => context)).toEqual([
      { traceId: told.store.traceId, spanId: told.store.spanId, traceFlags: 1, isRemote: true },
    ]);
    expect(told.parent).toBe(told.work);
    expect(span.parentSpanContext?.spanId).toBe(sdk.spans("request")[0]?.spanContext().spanId);
    expect(span.spanContext().traceId).not.toBe(told.store.traceId);
  });

  it("have the names and attributes of the semantic conventions", async () => {
    await storing.store("stored", 1);
    await storing.fail("failed", new Error("no"));
    await waiting.wait("stored", 20_000);
    await waiting.waitSettled("failed", 20_000);
    const shapes = [
      sdk.spanOf(store, "stored"),
      sdk.spanOf(fail, "failed"),
      sdk.spanOf(wait, "stored"),
      sdk.spanOf(wait, "failed"),
    ];
    expect(shapes.map(({ name, kind, attributes, status }) => ({ name, kind, attributes, status }))).toEqual([
      {
        name: store,
        kind: SpanKind.PRODUCER,
        attributes: {
          ...common,
          "messaging.operation.name": "store",
          "messaging.operation.type": "send",
          "messaging.message.id": "stored",
        },
        status: { code: SpanStatusCode.UNSET },
      },
      {
        name: fail,
        kind: SpanKind.PRODUCER,
        attributes: {
          ...common,
          "messaging.operation.name": "fail",
          "messaging.operation.type": "send",
          "messaging.message.id": "failed",
        },
        status: { code: SpanStatusCode.UNSET },
      },
      ...["stored", "failed"].map((taskId) => ({
        name: wait,
        kind: SpanKind.CLIENT,
        attributes: {
          ...common,
          "messaging.operation.name": "wait",
          "messaging.operation.type": "receive",
          "messaging.message.id": taskId,
          "kojin.task.status": taskId === "stored" ? "fulfilled" : "rejected",
        },
        status: { code: SpanStatusCode.UNSET },
      })),
    ]);
    expect(shapes[0]?.instrumentationScope).toMatchObject({
      name: "kojin-postgres",
      version: expect.stringMatching(/^\d/) as string,
    });
    expect(sdk.spanOf(wait, "failed").links[0]?.context.spanId).toBe(sdk.spanOf(fail, "failed").spanContext().spanId);
  });

  it("tell of a wait whose time is up, and of a store that is refused", async () => {
    await expect(waiting.wait("never", 10)).rejects.toMatchObject({ code: "WAIT_TIMEOUT" });
    const span = sdk.spanOf(wait, "never");
    expect(span.attributes).toMatchObject({ "error.type": "WaitTimeoutError" });
    expect(span.status.code).toBe(SpanStatusCode.ERROR);
    expect(span.events.map(({ name }) => name)).toEqual(["exception"]);
    expect(span.links).toEqual([]);
    const client = { query: async () => Promise.reject(new Error("refused")) };
    await expect(storing.store("refused", 1, { client })).rejects.toMatchObject({ code: "DATABASE" });
    expect(sdk.spanOf(store, "refused").attributes).toMatchObject({ "error.type": "DatabaseError" });
  });

  it("give each of many that travel in one statement its own context", async () => {
    const ids = Array.from({ length: 50 }, (_, index) => `many ${index}`);
    await Promise.all(ids.map(async (taskId) => storing.store(taskId, 1)));
    expect(storing.stats().stores.statements).toBeLessThan(50);
    for (const taskId of ids) {
      await waiting.wait(taskId, 20_000);
      const [link] = sdk.spanOf(wait, taskId).links;
      expect(link?.context.spanId).toBe(sdk.spanOf(store, taskId).spanContext().spanId);
    }
  });

  it("follow the result that is there: the last, or the first where it is kept", async () => {
    await storing.store("twice", 1);
    const first = sdk.spanOf(store, "twice").spanContext().spanId;
    await storing.store("twice", 2, { onConflict: "keep" });
    await waiting.wait("twice", 0);
    expect(sdk.spanOf(wait, "twice").links[0]?.context.spanId).toBe(first);
    await storing.store("twice", 3);
    const last = sdk.spanOf(store, "twice").spanContext().spanId;
    await waiting.wait("twice", 0);
    expect(sdk.spanOf(wait, "twice").links[0]?.context.spanId).toBe(last);
  });

  it("leave no link to a span that did not store what is there", async () => {
    const plain = await database.open();
    await storing.store("replaced", 1);
    expect(await contextOf("replaced")).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    await plain.store("replaced", 2);
    expect(await contextOf("replaced")).toBeNull();
    await storing.store("foreign", 1);
    // As the Rust crate writes.
    await database.sql(
      `insert into ${table} (task_id, result, expires_at) values ('foreign', '2', null)
       on conflict (task_id) do update set result = excluded.result, expires_at = excluded.expires_at`,
    );
    expect(await contextOf("foreign")).toBeNull();
    expect([await waiting.wait("replaced", 0), await waiting.wait("foreign", 0)]).toEqual([2, 2]);
    expect(sdk.spans(wait).flatMap(({ links }) => links)).toEqual([]);
  });

  it("take part in a caller's transaction", async () => {
    const client = await database.pool.connect();
    await client.query("begin");
    await storing.store("inside", 1, { client });
    await client.query("commit");
    client.release();
    await waiting.wait("inside", 20_000);
    expect(sdk.spanOf(wait, "inside").links[0]?.context.spanId).toBe(sdk.spanOf(store, "inside").spanContext().spanId);
  });

  it("are active while the call is under way, for what others trace", async () => {
    let active: string | undefined;
    const query = async (): Promise<{ rows: []; rowCount: number }> => {
      active = trace.getActiveSpan()?.spanContext().spanId;
      return Promise.resolve({ rows: [], rowCount: 0 });
    };
    await storing.store("active", 1, { client: { query } });
    expect(active).toBe(sdk.spanOf(store, "active").spanContext().spanId);
    expect(trace.getActiveSpan()).toBeUndefined();
  });

  it.each([
    "",
    "garbage",
    "00-",
    `00-${"0".repeat(32)}-${"1".repeat(16)}-01`,
    `00-${"1".repeat(32)}-${"1".repeat(16)}-0g`,
  ])("ignore what a foreign writer has left for a context: %j", async (text) => {
    await database.sql(
      `insert into ${table} (task_id, result, trace_context) values ('odd', '1', $1)
         on conflict (task_id) do update set trace_context = excluded.trace_context`,
      [text],
    );
    expect(await waiting.wait("odd", 20_000)).toBe(1);
    expect(sdk.spanOf(wait, "odd").links).toEqual([]);
  });

  it("say of a span that is not sampled that it is not", async () => {
    await sdk.stop();
    sdk = new Sdk();
    sdk.start(new AlwaysOffSampler());
    const backend = await database.open({ telemetry: true });
    await backend.store("unsampled", 1);
    expect(await contextOf("unsampled")).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    expect(await backend.wait("unsampled", 0)).toBe(1);
    expect(sdk.spans(wait)).toEqual([]);
  });

  it("need no SDK: then nothing is recorded, and everything works", async () => {
    await sdk.stop();
    const backend = await database.open({ telemetry: true });
    await backend.store("no sdk", 1);
    expect(await backend.wait("no sdk", 20_000)).toBe(1);
    expect(await contextOf("no sdk")).toBeNull();
  });

  it("are written only if asked for, even with the SDK installed", async () => {
    const plain = await database.open();
    await plain.store("plain", 1);
    await plain.wait("plain", 20_000);
    expect(await contextOf("plain")).toBeNull();
    expect(sdk.spans(store)).toEqual([]);
    expect(sdk.spans(wait)).toEqual([]);
  });
});
