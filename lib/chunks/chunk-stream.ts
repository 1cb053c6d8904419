import { firstValueFrom, from, mergeAll, Observable, Subject, takeUntil } from "rxjs";
import type { Chunk, ChunkPosition } from "../result-backend";
import { convertInOrder } from "../value/decoding";
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
    super((subscriber) => follow(after).pipe(mergeAll(), convertInOrder(decode)).subscribe(subscriber));
    this.#follow = follow;
    this.#after = after;
    this.#decode = decode;
  }

  [Symbol.asyncIterator](): AsyncIterator<Chunk<T>, void, undefined> {
    const ended$ = new Subject<void>();
    const chunks = this.#iterate(ended$);
    // A generator alone would end only after the next chunk, for which it may wait for ever.
    const end = async (): Promise<IteratorReturnResult<void>> => {
      ended$.next();
      await chunks.return();
      return { done: true, value: undefined };
    };
    return { next: async () => chunks.next(), return: end };
  }

  async *#iterate(ended$: Observable<void>): AsyncGenerator<Chunk<T>, void, undefined> {
    let after = this.#after;
    for (;;) {
      const page = await firstValueFrom(this.#follow(after).pipe(takeUntil(ended$)), { defaultValue: [] });
      for (const stored of page) {
        const decoding = this.#decode(stored);
        const chunk =
          decoding instanceof Promise
            ? await firstValueFrom(from(decoding).pipe(takeUntil(ended$)), { defaultValue: undefined })
            : decoding;
        if (chunk === undefined) return;
        yield chunk;
      }
      const last = page.at(-1);
      if (last === undefined) return;
      after = last;
    }
  }
}
