import type { Logger } from "../logger";

/** Consecutive failures from which a problem is reported, since a single lost connection is none. */
const minFailures = 3;
/** Time after which a problem is forgotten, since reads that are needed are repeated more often. */
const keptMs = 60_000;

interface Failures {
  readonly count: number;
  readonly error: Error;
  /** On the clock of `performance.now()`. */
  readonly failedAt: number;
}

/** Reports failing reads of streams and waits, which themselves continue. */
export class ReadProblems {
  readonly #logger: Logger;
  readonly #failures = new Map<string, Failures>();
  /** From the kind of read and error to the first id that showed it. */
  readonly #leftOut = new Map<string, string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Current problems, as sentences. */
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

  /** Warns of an id that streams of `what` skip, once for each kind of error until that id can be read. */
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
    // Usually empty, and checked for every key that is read.
    if (this.#leftOut.size === 0) return;
    for (const [kind, first] of this.#leftOut) if (first === key) this.#leftOut.delete(kind);
  }
}

const describe = (what: string, { count, error }: Failures): string =>
  `Reading ${what} has failed ${count} times in a row, and is tried again: ${error.message}`;
