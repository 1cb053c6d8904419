import type { Logger } from "../logger";

/** Warns of ids that the server refuses to read, and that a stream therefore leaves out: once for each kind of error, until the id that showed it can be read. */
export class Refusals {
  readonly #logger: Logger;
  /** From the kind of an error to the first id that showed it. */
  readonly #keys = new Map<string, string>();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  note(key: string, error: Error): void {
    const kind = "sqlState" in error ? String(error.sqlState) : error.name;
    if (this.#keys.has(kind)) return;
    this.#keys.set(kind, key);
    this.#logger.warn(
      `A stream leaves out ${JSON.stringify(key)}, and others like it, which cannot be read. ${String(error)}`,
    );
  }

  /** Notes that an id was read, or is gone. */
  clear(key: string): void {
    // Hardly ever is there anything: this is on the way of each read.
    if (this.#keys.size === 0) return;
    for (const [kind, first] of this.#keys) if (first === key) this.#keys.delete(kind);
  }
}
