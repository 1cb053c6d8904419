import type { Database } from "../database/database";
import type { Logger } from "../logger";
import { encodePayloads, type PayloadName, payloadNames } from "../notifications/payload";
import type { ResultStatements } from "./statements";

const announceTimeoutMs = 5_000;
const droppedMessage = "Announcements are dropped until they succeed again; waiters find their results by sweeping.";

/**
 * Announces what has been stored without a notification, after the commit (`notify: 'deferred'`, or when the notification would have failed the write). A commit that notifies holds a lock of the whole cluster until it is on disk, so such
 * commits queue behind one another; one that only notifies waits for no disk. One announcement is under way at a time, and takes along all that came meanwhile.
 */
export class DeferredPublisher {
  readonly #database: Database;
  readonly #statements: ResultStatements;
  readonly #channel: string;
  readonly #logger: Logger;
  #isFailing = false;
  #dropped = 0;
  #pending = emptySets();
  #isSending = false;
  #isClosed = false;
  #sent: Promise<void> = Promise.resolve();

  constructor(database: Database, statements: ResultStatements, channel: string, logger: Logger) {
    this.#database = database;
    this.#statements = statements;
    this.#channel = channel;
    this.#logger = logger;
  }

  /** Number of announcements that failed. */
  get dropped(): number {
    return this.#dropped;
  }

  announce(name: PayloadName, ids: Iterable<string>): void {
    if (this.#isClosed) return;
    for (const id of ids) this.#pending[name].add(id);
    if (this.#isSending || !this.#hasPending) return;
    this.#isSending = true;
    this.#sent = this.#send();
  }

  /** Resolves once everything is announced, or dropped. */
  async drain(): Promise<void> {
    await this.#sent;
  }

  /** Drops what is to be announced, and announces nothing more. */
  close(): void {
    this.#isClosed = true;
    this.#pending = emptySets();
  }

  get #hasPending(): boolean {
    return payloadNames.some((name) => this.#pending[name].size > 0);
  }

  async #send(): Promise<void> {
    try {
      while (this.#hasPending) await this.#sendPending();
    } finally {
      // In the same breath as the last look at what is pending. A moment later, by the promise, it would miss what was announced in between, until the next time.
      this.#isSending = false;
    }
  }

  async #sendPending(): Promise<void> {
    const pending = this.#pending;
    this.#pending = emptySets();
    const payloads = payloadNames.flatMap((name) => encodePayloads(name, pending[name]));
    const query = {
      purpose: "announce results",
      text: this.#statements.announce,
      values: [this.#channel, payloads],
      isPrepared: true,
    };
    // Dropped when it fails: the results are stored, and the waiters' sweep finds them. A queue of old announcements would only delay new ones.
    try {
      await this.#database.notify(query, announceTimeoutMs);
      this.#isFailing = false;
    } catch (error) {
      if (this.#isClosed) return;
      this.#dropped += 1;
      if (!this.#isFailing) this.#logger.warn(`${droppedMessage} ${String(error)}`);
      this.#isFailing = true;
    }
  }
}

const emptySets = (): Record<PayloadName, Set<string>> => ({
  ids: new Set(),
  groups: new Set(),
  done: new Set(),
  members: new Set(),
});
