import type { Logger } from "../logger";

/** So many failures in a row are more than a connection that was lost. */
const minFailures = 3;
/** Reads are repeated more often while they are wanted: after that, nothing waits for them any more. */
const keptMs = 60_000;

interface Trouble {
  readonly count: number;
  readonly error: Error;
  /** On the clock of `performance.now()`. */
  readonly failedAt: number;
}

/** Counts reads that fail again and again behind streams and waits, which go on meanwhile. */
export class Troubles {
  readonly #logger: Logger;
  readonly #failures = new Map<string, Trouble>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** The present ones, in words. */
  get problems(): readonly string[] {
    const since = performance.now() - keptMs;
    return [...this.#failures]
      .filter(([, { count, failedAt }]) => count >= minFailures && failedAt >= since)
      .map(([what, trouble]) => say(what, trouble));
  }

  /** To be called with what was read, such as `open groups`. The third failure in a row is logged. */
  fail(what: string, error: Error): void {
    const trouble = { count: (this.#failures.get(what)?.count ?? 0) + 1, error, failedAt: performance.now() };
    this.#failures.set(what, trouble);
    if (trouble.count === minFailures) this.#logger.warn(say(what, trouble));
  }

  /** The same as a callback: with an error it fails, without one it succeeds. */
  of(what: string): (error?: Error) => void {
    return (error) => (error === undefined ? this.clear(what) : this.fail(what, error));
  }

  /** A read has succeeded. */
  clear(what: string): void {
    this.#failures.delete(what);
  }
}

const say = (what: string, { count, error }: Trouble): string =>
  `Reading ${what} has failed ${count} times in a row, and is tried again: ${error.message}`;
