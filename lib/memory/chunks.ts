import { concat, concatMap, defer, EMPTY, merge, of, type Observable, throwError } from "rxjs";
import { ChunkCursor, type StoredChunk } from "../chunks/chunk-rules";
import { ChunkStream, type DecodeChunk } from "../chunks/chunk-stream";
import { WaitTimeoutError } from "../errors";
import type { ChunkPosition } from "../result-backend";
import type { Deadlines } from "../waiting/deadlines";
import type { MemoryStorage } from "./storage";
import { MemoryWaits } from "./waits";

/** Follows the chunks of tasks in memory. A task is watched by its id, which is emitted at every change. */
export class MemoryChunks extends MemoryWaits<string> {
  readonly #storage: MemoryStorage;

  constructor(deadlines: Deadlines, storage: MemoryStorage) {
    super({
      deadlines,
      changes$: merge(storage.emitted$, storage.finished$),
      keyOf: (taskId) => taskId,
      read: (taskId) => taskId,
      isAnswer: (taskId) => storage.read(taskId) !== undefined,
      timeoutError: (taskId, timeoutMs) => new WaitTimeoutError({ taskId }, timeoutMs),
    });
    this.#storage = storage;
  }

  /** Emits the chunks of a task after a position, and completes or errors when the task has a result. */
  chunks$<T>(taskId: string, after: ChunkPosition, decode: DecodeChunk<T>): ChunkStream<T> {
    return new ChunkStream((from) => this.#follow$(taskId, from), after, decode);
  }

  #follow$(taskId: string, after: ChunkPosition): Observable<readonly StoredChunk[]> {
    return defer(() => {
      const cursor = new ChunkCursor(after);
      return this.watch$(taskId).pipe(
        concatMap(() => {
          const page = this.#storage.chunks(taskId, cursor.position);
          cursor.startOver(page);
          const taken = cursor.take(page);
          const taken$ = taken.length === 0 ? EMPTY : of(taken);
          return page.error === undefined
            ? taken$
            : concat(
                taken$,
                throwError(() => page.error),
              );
        }),
      );
    });
  }
}
