import { concatMap, firstValueFrom, mergeAll, Observable } from "rxjs";
import type { Chunk, ChunkPosition } from "../result-backend";
import type { StoredChunk } from "./chunk-rules";

/** Emits what follows a position, in pages of at least one chunk. */
type FollowPages = (after: ChunkPosition) => Observable<readonly StoredChunk[]>;

/** Converts a stored chunk to what callers receive. */
export type DecodeChunk<T> = (stored: StoredChunk) => Chunk<T> | Promise<Chunk<T>>;

/**
 * The chunks of a task, as they come. For `for await` also an iterable, which asks for the next page only once the last
 * one is used up, so that a slow loop holds one page at a time.
 */
export class ChunkStream<T> extends Observable<Chunk<T>> implements AsyncIterable<Chunk<T>> {
  readonly #follow: FollowPages;
  readonly #after: ChunkPosition;
  readonly #decode: DecodeChunk<T>;

  constructor(follow: FollowPages, after: ChunkPosition, decode: DecodeChunk<T>) {
    const inOrder = concatMap((stored: StoredChunk) => {
      const chunk = decode(stored);
      return chunk instanceof Promise ? chunk : [chunk];
    });
    super((subscriber) => follow(after).pipe(mergeAll(), inOrder).subscribe(subscriber));
    this.#follow = follow;
    this.#after = after;
    this.#decode = decode;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk<T>, void, undefined> {
    let after = this.#after;
    for (;;) {
      const page = await firstValueFrom(this.#follow(after), { defaultValue: [] });
      const last = page.at(-1);
      if (last === undefined) return;
      for (const stored of page) yield this.#decode(stored);
      after = last;
    }
  }
}
