import { firstValueFrom, take, toArray } from "rxjs";
import superjson from "superjson";
import { z } from "zod";
import {
  type Codec,
  MemoryResultBackend,
  type PostgresResultBackendOptions,
  type ResultBackend,
  ResultEncodingError,
  ResultValidationError,
} from "kojin-postgres";
import { specDatabase } from "./support/spec-database";

const richCodec: Codec = {
  encode: (value) => superjson.serialize(value),
  decode: (json) => superjson.deserialize(json as ReturnType<typeof superjson.serialize>),
};
const rich = {
  at: new Date(86_400_000),
  counts: new Map([["a", new Set([1n, 2n])]]),
  pattern: /a+/gi,
  nothing: undefined,
  numbers: [NaN, Infinity, -0],
  address: new URL("http://localhost:1/x"),
};

type Open = (options: Pick<PostgresResultBackendOptions, "codec" | "maxResultBytes">) => Promise<ResultBackend>;

describe("a codec", () => {
  const database = specDatabase("codec");
  const memory = new MemoryResultBackend();
  const backends: [string, Open][] = [
    ["Postgres", async (options) => database.open(options)],
    ["memory", async (options) => Promise.resolve(memory.view(options))],
  ];

  describe.each(backends)("in %s", (name, open) => {
    const opened: ResultBackend[] = [];
    const openWith: Open = async (options) => {
      const backend = await open(options);
      opened.push(backend);
      return backend;
    };
    afterEach(async () => {
      for (const backend of opened.splice(0)) await backend.close();
    });

    it("brings back what JSON cannot hold, in every way of reading it", async () => {
      const [storing, reading] = [await openWith({ codec: richCodec }), await openWith({ codec: richCodec })];
      const feed = firstValueFrom(reading.results$({ where: (id) => id === "rich" }));
      const waited = reading.wait("rich", 20_000);
      await storing.store("rich", rich);
      expect(await waited).toEqual(rich);
      expect(await reading.get("rich")).toEqual(rich);
      expect(await reading.getSettled("rich")).toEqual({ status: "fulfilled", value: rich });
      expect(await reading.waitSettled("rich", 0)).toEqual({ status: "fulfilled", value: rich });
      expect(await firstValueFrom(reading.result$("rich"))).toEqual(rich);
      expect(await feed).toEqual({ taskId: "rich", status: "fulfilled", value: rich });
      await storing.store("undefined", undefined);
      expect(await reading.wait("undefined", 0)).toBeUndefined();
    });

    it("goes for the members of groups as well", async () => {
      const backend = await openWith({ codec: richCodec });
      await backend.initGroup("group", ["a", "b"]);
      await backend.completeGroupMember("group", "a", 1n);
      await backend.completeGroupMember("group", "b", rich);
      expect(await backend.waitGroup("group", 20_000)).toEqual([1n, rich]);
      expect(await backend.getGroupResults("group")).toEqual([1n, rich]);
      expect(await firstValueFrom(backend.groupResults$("group"))).toEqual([1n, rich]);
      const members = await firstValueFrom(backend.groupMembers$("group").pipe(toArray()));
      expect(members).toMatchObject([{ value: 1n }, { value: rich }]);
    });

    it("comes before the schema, which sees real values", async () => {
      const backend = await openWith({ codec: richCodec });
      await backend.store("dated", rich);
      const schema = z.object({ at: z.date() });
      expect(await backend.get("dated", { schema })).toEqual({ at: rich.at });
    });

    it("leaves failures alone, which are plain JSON for every reader", async () => {
      const backend = await openWith({ codec: richCodec });
      await backend.fail("failed", Object.assign(new Error("no"), { details: { n: 1 } }));
      const plain = await openWith({});
      for (const reading of [backend, plain])
        expect(await reading.getSettled("failed")).toMatchObject({ reason: { failure: { details: { n: 1 } } } });
    });

    it("rejects one store, or one reader, when it throws", async () => {
      const codec: Codec = {
        encode: (value) => {
          if (value === "unfit") throw new Error("unfit for the codec");
          return value;
        },
        decode: (json) => {
          if (json === "unreadable") throw new Error("unreadable for the codec");
          return json;
        },
      };
      const backend = await openWith({ codec });
      const stores = await Promise.allSettled([backend.store("unfit", "unfit"), backend.store("fit", 1)]);
      expect(stores).toMatchObject([
        {
          status: "rejected",
          reason: { code: "RESULT_ENCODING", taskId: "unfit", cause: { message: "unfit for the codec" } },
        },
        { status: "fulfilled" },
      ]);
      await expect(backend.completeGroupMember("g", "unfit", "unfit")).rejects.toBeInstanceOf(ResultEncodingError);

      const feed = firstValueFrom(backend.results$({ where: (id) => id.startsWith(name) }).pipe(take(2), toArray()));
      const waits = Promise.allSettled([backend.wait(`${name} bad`, 20_000), backend.wait(`${name} good`, 20_000)]);
      const plain = await openWith({});
      await plain.store(`${name} bad`, "unreadable");
      await backend.wait(`${name} bad`, 20_000).catch(() => undefined);
      await plain.store(`${name} good`, 2);
      const [bad, good] = await waits;
      expect(good).toEqual({ status: "fulfilled", value: 2 });
      expect(bad).toMatchObject({
        reason: { code: "RESULT_VALIDATION", cause: { message: "unreadable for the codec" } },
      });
      await expect(backend.get(`${name} bad`)).rejects.toBeInstanceOf(ResultValidationError);
      await expect(firstValueFrom(backend.result$(`${name} bad`))).rejects.toBeInstanceOf(ResultValidationError);
      expect((await feed).map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    });

    it("is held to the same limits as JSON", async () => {
      const backend = await openWith({
        codec: { encode: () => "x".repeat(100), decode: (json) => json },
        maxResultBytes: 50,
      });
      await expect(backend.store("large", 1)).rejects.toMatchObject({ code: "RESULT_ENCODING" });
      const impossible = await openWith({ codec: { encode: () => 1n, decode: (json) => json } });
      await expect(impossible.store("bigint", 1)).rejects.toMatchObject({ code: "RESULT_ENCODING" });
      const late = await openWith({ codec: { encode: async () => Promise.resolve(1), decode: (json) => json } });
      await expect(late.store("promise", 1)).rejects.toThrow("the codec returned a promise");
    });
  });

  it("writes plain JSON, which others can read in SQL", async () => {
    const backend = await database.open({ codec: richCodec });
    await backend.store("plain", { n: 1, at: rich.at });
    const [row] = await database.sql<{ n: number }>(
      `select (result #>> '{json,n}')::int as n from "${database.schema}".kojin_results where task_id = 'plain'`,
    );
    expect(row).toEqual({ n: 1 });
  });

  it("is inherited by a view in memory, and can be replaced there", async () => {
    await using backend = new MemoryResultBackend({ codec: richCodec });
    await using same = backend.view();
    await using other = backend.view({ codec: { encode: (value) => value, decode: () => "other" } });
    await backend.store("task", 1n);
    expect([await same.get("task"), await other.get("task")]).toEqual([1n, "other"]);
  });

  it.each([[{}], [{ encode: () => 1 }], [{ decode: () => 1 }], [1], [null]])(
    "has to have both functions: %j",
    (codec) => {
      const options = { codec: codec as Codec };
      if (codec === null) expect(() => new MemoryResultBackend(options)).toThrow("codec: expected an object, got null");
      else expect(() => new MemoryResultBackend(options)).toThrow(/^codec(\.\w+)?: expected/);
    },
  );
});
