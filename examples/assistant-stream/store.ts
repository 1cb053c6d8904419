import { randomUUID } from "node:crypto";
import type {
  ResumableStreamAcquisition,
  ResumableStreamEntry,
  ResumableStreamLease,
  ResumableStreamStatus,
  ResumableStreamStore,
} from "assistant-stream/resumable";
import { type ChunkPosition, type ResultBackend, TaskFailedError } from "kojin-postgres";
import { fromEvent, type Observable, type Subscription, takeUntil } from "rxjs";

/** Time for which readers of a deleted stream are told that it has ended. */
const deletedMs = 60_000;

/** The store of resumable streams of `assistant-stream`, over chunks: the bytes of a stream survive its server. */
export class ChunkStore implements ResumableStreamStore {
  readonly #backend: ResultBackend;

  constructor(backend: ResultBackend) {
    this.#backend = backend;
  }

  async acquire(streamId: string, options?: { readonly ttlMs?: number }): Promise<"producer" | "consumer"> {
    return (await this.acquireLease(streamId, options)).role;
  }

  /** The first caller becomes the producer. Its token is part of the task id, so a deleted stream can begin again. */
  async acquireLease(streamId: string, options: { readonly ttlMs?: number } = {}): Promise<ResumableStreamAcquisition> {
    const token = randomUUID();
    await this.#backend.store(ownerId(streamId), token, { ...options, onConflict: "keep" });
    const owner = await this.#backend.get<string>(ownerId(streamId));
    return owner === token ? { role: "producer", lease: { token } } : { role: "consumer" };
  }

  async append(streamId: string, chunk: Uint8Array, lease?: ResumableStreamLease): Promise<void> {
    await this.#backend.emit(await this.#taskOf(streamId, lease), Buffer.from(chunk).toString("base64"));
  }

  async finalize(
    streamId: string,
    status: "done" | "error",
    error = "The stream failed.",
    lease?: ResumableStreamLease,
  ): Promise<void> {
    const taskId = await this.#taskOf(streamId, lease);
    if (status === "done") await this.#backend.store(taskId, null, { onConflict: "keep" });
    else await this.#backend.fail(taskId, new Error(error), { onConflict: "keep" });
  }

  async *read(streamId: string, cursor: string, signal: AbortSignal): AsyncGenerator<ResumableStreamEntry> {
    if (signal.aborted) return;
    const after = positionOf(cursor);
    const chunks$ = this.#backend.chunks$<string>(await this.#taskOf(streamId), { after });
    try {
      for await (const chunk of toStream(chunks$.pipe(takeUntil(fromEvent(signal, "abort"))))) {
        if (chunk.kind === "restart") continue;
        yield {
          cursor: `${chunk.attempt}-${chunk.sequence}`,
          chunk: new Uint8Array(Buffer.from(chunk.value, "base64")),
        };
      }
    } catch (error) {
      throw error instanceof TaskFailedError ? new Error(error.failure.message, { cause: error }) : error;
    }
  }

  async status(streamId: string): Promise<ResumableStreamStatus> {
    const token = await this.#backend.get<string>(ownerId(streamId));
    if (token === undefined) return "missing";
    const settled = await this.#backend.getSettled(taskId(streamId, token));
    if (settled === undefined) return "streaming";
    return settled.status === "fulfilled" ? "done" : "error";
  }

  async delete(streamId: string): Promise<void> {
    const token = await this.#backend.get<string>(ownerId(streamId));
    if (token === undefined) return;
    await this.#backend.delete(ownerId(streamId));
    // Ends the streams of active readers. Its chunks expire with it.
    await this.#backend.store(taskId(streamId, token), null, { ttlMs: deletedMs });
  }

  async #taskOf(streamId: string, lease?: ResumableStreamLease): Promise<string> {
    const token = lease?.token ?? (await this.#backend.get<string>(ownerId(streamId)));
    if (token === undefined) throw new Error(`There is no stream ${streamId}.`);
    return taskId(streamId, token);
  }
}

const ownerId = (streamId: string): string => `stream:${streamId}`;
const taskId = (streamId: string, token: string): string => `stream:${streamId}:${token}`;

function positionOf(cursor: string): ChunkPosition | 0 {
  if (cursor === "") return 0;
  const [attempt = 1, sequence = 0] = cursor.split("-").map(Number);
  return { attempt, sequence };
}

/** An iterable that ends at once when its observable does, unlike `for await` over `chunks$`. */
function toStream<T>(values$: Observable<T>): ReadableStream<T> {
  let subscription: Subscription | undefined;
  return new ReadableStream<T>({
    start: (controller) => {
      subscription = values$.subscribe({
        next: (value) => controller.enqueue(value),
        error: (error) => controller.error(error),
        complete: () => controller.close(),
      });
    },
    cancel: () => subscription?.unsubscribe(),
  });
}
