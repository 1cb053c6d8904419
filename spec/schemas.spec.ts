import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";
import { type PostgresResultBackend, type ResultSchema, ResultValidationError } from "kojin-postgres";
import { specDatabase } from "./support/spec-database";

const order = { lines: 2, state: "open" };
const schemas: Record<string, ResultSchema<{ lines: number }>> = {
  zod: z.object({ lines: z.number(), state: z.enum(["open", "paid"]) }),
  valibot: v.object({ lines: v.number(), state: v.picklist(["open", "paid"]) }),
  arktype: type({ lines: "number", state: "'open' | 'paid'" }),
};

/**
 * The conformance specs cover schemas on every backend. These use real schema libraries, and what only Postgres can
 * show.
 */
describe("a schema", () => {
  const database = specDatabase("schemas");
  let storing: PostgresResultBackend;
  let reading: PostgresResultBackend;

  beforeEach(async () => {
    storing = await database.open();
    reading = await database.open();
    await reading.ready();
  });

  it("leaves no rejection without a handler where the codec rejects another member of the group", async () => {
    const unhandled = jest.fn();
    process.on("unhandledRejection", unhandled);
    const decode = (value: unknown): unknown => {
      if (value === "old form") throw new Error("an old form");
      return value;
    };
    const backend = await database.open({ codec: { encode: (value) => value, decode } });
    await backend.initGroup("forms", ["a", "b"]);
    await backend.completeGroupMember("forms", "a", "text");
    await backend.completeGroupMember("forms", "b", "old form");
    await expect(backend.waitGroup("forms", { timeoutMs: 20_000, schema: z.number() })).rejects.toBeInstanceOf(
      ResultValidationError,
    );
    await expect(backend.getGroupResults("forms", { schema: z.number() })).rejects.toBeInstanceOf(
      ResultValidationError,
    );
    await new Promise(setImmediate);
    process.off("unhandledRejection", unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it.each(Object.entries(schemas))("may be one of %s", async (name, schema) => {
    const waited = reading.wait(`order ${name}`, { timeoutMs: 20_000, schema });
    await storing.store(`order ${name}`, order);
    expect(await waited).toEqual(order);
    await storing.store(`bad ${name}`, { ...order, lines: "2" });
    const error = await reading.get(`bad ${name}`, { schema }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ResultValidationError);
    const { issues, message } = error as ResultValidationError;
    expect(issues).toHaveLength(1);
    const path = Array.from(issues[0]?.path ?? [], (part) => (typeof part === "object" ? part.key : part));
    expect(path).toEqual(["lines"]);
    expect(message).toMatch(/^The result of task bad \w+ does not have the expected form: lines: /);
  });

  it("may be asynchronous, and change the value", async () => {
    const schema = z
      .string()
      .transform((text) => new Date(text))
      .refine(async (at) => Promise.resolve(!Number.isNaN(at.getTime())));
    const date = "2024-01-02T03:04:05.000Z";
    await storing.store("date", date);
    expect(await reading.wait("date", { timeoutMs: 0, schema })).toEqual(new Date(date));
    await storing.store("no date", "yesterday");
    await expect(reading.wait("no date", { timeoutMs: 0, schema })).rejects.toBeInstanceOf(ResultValidationError);
  });

  it("that never answers holds no connection and no other call", async () => {
    const schema = z.number().refine(async () => new Promise<boolean>(() => undefined));
    const hanging = Array.from({ length: 50 }, async () =>
      reading.wait("task", { timeoutMs: Infinity, schema }).catch((error: unknown) => error),
    );
    const waits = Array.from({ length: 50 }, async () => reading.wait("task", 20_000));
    await storing.store("task", 1);
    expect(new Set(await Promise.all(waits))).toEqual(new Set([1]));
    expect(reading.stats().waiting).toBe(0);
    await storing.store("other", 2);
    expect(await reading.wait("other", 20_000)).toBe(2);
    await reading.close();
    for (const error of await Promise.all(hanging)) expect(error).toMatchObject({ code: "BACKEND_CLOSED" });
  });
});
