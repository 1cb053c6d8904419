import type { Logger } from "../logger";

/** So many failures in a row are more than a connection that was lost. */
const minFailures = 3;
/** Reads are repeated more often than this while they are needed. */
const keptMs = 60_000;

interface Failures {
  readonly count: number;
  readonly error: Error;
  /** On the clock of `performance.now()`. */
  readonly failedAt: number;
}

/** Reports reads that fail behind streams and waits, which go on meanwhile. */
export class ReadProblems {
  readonly #logger: Logger;
  readonly #failures = new Map<string, Failures>();
  /** From the kind of read and error to the first id that showed it. */
  readonly #leftOut = new Map<string, string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** The present problems, as sentences. */
  get messages(): readonly string[] {
    const since = performance.now() - keptMs;
    return [...this.#failures]
      .filter(([, { count, failedAt }]) => count >= minFailures && failedAt >= since)
      .map(([what, failures]) => describe(what, failures));
  }

  /** Notes the outcome of a read of `what`, such as `open groups`. Logs the third failure in a row. */
  note(what: string, error?: Error): void {
    if (error === undefined) {
      this.#failures.delete(what);
      return;
    }
    const failures = { count: (this.#failures.get(what)?.count ?? 0) + 1, error, failedAt: performance.now() };
    this.#failures.set(what, failures);
    if (failures.count === minFailures) this.#logger.warn(describe(what, failures));
  }

  /** Warns of an id that streams of `what` leave out. Once for each kind of error, until that id can be read. */
  leaveOut(what: string, key: string, error: Error): void {
    const kind = `${what} ${"sqlState" in error ? String(error.sqlState) : error.name}`;
    if (this.#leftOut.has(kind)) return;
    this.#leftOut.set(kind, key);
    this.#logger.warn(
      `A stream leaves out ${JSON.stringify(key)}, and others like it, which cannot be read. ${String(error)}`,
    );
  }

  /** Notes that an id was read, or is gone. */
  clear(key: string): void {
    // Usually empty, and asked for every key that is read.
    if (this.#leftOut.size === 0) return;
    for (const [kind, first] of this.#leftOut) if (first === key) this.#leftOut.delete(kind);
  }
}

const describe = (what: string, { count, error }: Failures): string =>
  `Reading ${what} has failed ${count} times in a row, and is tried again: ${error.message}`;
