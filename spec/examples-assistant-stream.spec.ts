import { createResumableStreamContext } from "assistant-stream/resumable";
import { ChunkStore } from "../examples/assistant-stream/store";
import { eventually } from "./support/eventually";
import { specDatabase } from "./support/spec-database";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Reads a stream to its end. */
async function textOf(stream: ReadableStream<Uint8Array> | null): Promise<string> {
  return stream === null ? "nothing" : new Response(stream).text();
}

describe("the example of a store for assistant-stream", () => {
  const database = specDatabase("assistant stream");
  const open = async (): Promise<ChunkStore> => new ChunkStore(await database.open());
  /** A stream whose bytes come when they are written. */
  const createSource = (): { stream: ReadableStream<Uint8Array>; controller: ReadableStreamDefaultController } => {
    let controller: ReadableStreamDefaultController | undefined;
    const stream = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
    return { stream, controller: controller as ReadableStreamDefaultController };
  };

  it("lets a second process follow the stream of the first, and read it again when it is done", async () => {
    const [store, other] = [await open(), await open()];
    const [context, otherContext] = [store, other].map((each) => createResumableStreamContext({ store: each }));
    const { stream, controller } = createSource();
    const first = textOf((await context?.run("s", () => stream)) ?? null);
    controller.enqueue(bytes("Grüße, "));
    await eventually(async () => expect(await otherContext?.status("s")).toBe("streaming"));
    const second = textOf((await otherContext?.run("s", () => createSource().stream)) ?? null);
    controller.enqueue(bytes("🌍"));
    controller.close();
    expect(await Promise.all([first, second])).toEqual(["Grüße, 🌍", "Grüße, 🌍"]);
    await eventually(async () => expect(await otherContext?.status("s")).toBe("done"));
    expect(await textOf((await otherContext?.resume("s")) ?? null)).toBe("Grüße, 🌍");
    expect(await otherContext?.resume("unknown")).toBeNull();
  });

  it("elects one producer, reads after a cursor, and ends reads that are aborted", async () => {
    const [store, other] = [await open(), await open()];
    const roles = await Promise.all([store, other, store].map(async (each) => each.acquire("t")));
    expect(roles.sort()).toEqual(["consumer", "consumer", "producer"]);
    for (const text of ["a", "b", "c"]) await store.append("t", bytes(text));
    const abort = new AbortController();
    const read: string[] = [];
    for await (const { cursor, chunk } of other.read("t", "1-1", abort.signal)) {
      read.push(`${cursor} ${new TextDecoder().decode(chunk)}`);
      if (read.length === 2) abort.abort();
    }
    expect(read).toEqual(["1-2 b", "1-3 c"]);
  });

  it("passes on the error of a stream, and begins a deleted one again", async () => {
    const [store, other] = [await open(), await open()];
    const { signal } = new AbortController();
    expect(await store.acquire("u")).toBe("producer");
    await store.append("u", bytes("a"));
    const failing = other.read("u", "", signal);
    await failing.next();
    await store.finalize("u", "error", "no more tokens");
    await expect(failing.next()).rejects.toThrow("no more tokens");
    expect(await store.status("u")).toBe("error");
    await store.delete("u");
    expect(await other.status("u")).toBe("missing");
    expect(await store.acquire("u")).toBe("producer");
    await store.append("u", bytes("b"));
    const entries = other.read("u", "", signal);
    expect(await entries.next()).toMatchObject({ value: { cursor: "1-1", chunk: bytes("b") } });
    const end = entries.next();
    await store.delete("u");
    expect(await end).toEqual({ done: true, value: undefined });
  });
});
