import { type Database, type FollowUp, lockTimeoutSetting, type Query } from "../database/database";
import { isNotificationFault } from "../database/sql-states";
import { DatabaseError } from "../errors";
import { MergingPublisher } from "../notifications/merging-publisher";
import type { NotificationPublisher } from "../notifications/notifier";
import { channelOf, encodePayloads, type PayloadName, payloadNames } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import { checkId } from "../value/arguments";
import { onFirstRow } from "./expressions";

/** Longest time for a statement that only notifies, and for its wait for the notification lock. */
const announceTimeoutMs = 5_000;
const notifyLockTimeoutMs = 2_000;

/** Names what the caller's own transaction has stored. */
export interface Announcement {
  /** Tasks that have a result or new chunks now. */
  readonly taskIds?: readonly string[];
  /** Groups that were initialised, or some of whose members finished. */
  readonly groupIds?: readonly string[];
}

const purpose = "announce results";

/** $1 text channel, $2 text payload. Only notifies, so its commit does not wait for the disk. */
const announceOneText = `select ${lockTimeoutSetting(notifyLockTimeoutMs)}, pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)`;

/** The same for $2 text[] payloads. */
const announceText = `
      select pg_catalog.pg_notify($1::pg_catalog.text, payload)
      from pg_catalog.unnest($2::pg_catalog.text[]) with ordinality as batch (payload, place)
      ${onFirstRow([lockTimeoutSetting(notifyLockTimeoutMs)])}`;

type AnnouncementOptions = Pick<ResolvedOptions, "schema" | "notify" | "logger" | "batch">;

/**
 * Announces writes after their commit: over another notifier, and to listeners unless the write has notified them
 * (`notify: 'deferred'`, or when the notification would have failed the write). A commit that notifies holds a lock of
 * the whole cluster until it is on disk, so such commits queue behind one another; one that only notifies waits for no
 * disk. One announcement to listeners is under way at a time, and takes along all that came meanwhile.
 */
export class Announcements {
  /** True if writes notify listeners themselves. */
  readonly notifies: boolean;
  readonly #database: Database;
  readonly #options: AnnouncementOptions;
  readonly #channel: string;
  readonly #publisher: MergingPublisher | undefined;
  #isFailing = false;
  #dropped = 0;
  #pending = emptySets();
  #isSending = false;
  #isClosed = false;
  #sent: Promise<void> = Promise.resolve();
  readonly #following = new Set<Promise<unknown>>();

  constructor(database: Database, options: AnnouncementOptions, publisher?: NotificationPublisher) {
    this.notifies = options.notify === "trigger";
    this.#database = database;
    this.#options = options;
    this.#channel = channelOf(options.schema);
    if (publisher !== undefined) this.#publisher = new MergingPublisher(publisher, options.logger);
  }

  /** Announcements to listeners that were dropped, and those that a publisher failed to make at first. */
  get failed(): number {
    return this.#dropped + (this.#publisher?.counters.unconfirmed ?? 0);
  }

  /** Notifies waiting processes of what the caller's own transaction has stored. */
  announceWritten({ taskIds = [], groupIds = [] }: Announcement): void {
    for (const taskId of taskIds) checkId(taskId, "taskId");
    for (const groupId of groupIds) checkId(groupId, "groupId");
    this.announce("ids", taskIds, { notified: false });
    this.announce("members", groupIds, { notified: false });
  }

  /** @param sent - The answer to the notification that was sent along. If it fails, the notification is sent again. */
  announce(
    name: PayloadName,
    ids: readonly string[],
    { notified, sent }: { readonly notified: boolean; readonly sent?: Promise<unknown> | undefined },
  ): void {
    this.#publisher?.announce(name, ids);
    if (sent !== undefined) sent.catch(() => this.#notify(name, ids));
    else if (!notified) this.#notify(name, ids);
  }

  /**
   * Returns the notification for a write to send along, on the same connection and in the same piece: the server has it
   * before the write is answered.
   */
  following(name: PayloadName, ids: readonly string[]): Following | undefined {
    const { notify, batch } = this.#options;
    // Each keeps a connection until it is answered, which takes long while another session holds the notification lock.
    if (notify !== "deferred" || this.#following.size >= batch.inFlight) return undefined;
    return new Following(this.#queryFor(encodePayloads(name, ids)), this.#following);
  }

  #notify(name: PayloadName, ids: readonly string[]): void {
    if (this.#options.notify === "off" || this.#isClosed) return;
    for (const id of ids) this.#pending[name].add(id);
    if (this.#isSending || !this.#hasPending) return;
    this.#isSending = true;
    this.#sent = this.#send();
  }

  /** Resolves once everything is announced, or dropped. */
  async drain(): Promise<void> {
    await Promise.all(this.#following);
    // Including those that are sent again.
    await Promise.all([this.#sent, this.#publisher?.drain()]);
  }

  /** Stops announcing. The publisher of a notifier is closed with its channel. */
  close(): void {
    this.#isClosed = true;
    this.#publisher?.close();
    this.#pending = emptySets();
  }

  #queryFor(payloads: readonly string[]): Query {
    const isOne = payloads.length === 1;
    const values = [this.#channel, isOne ? payloads[0] : payloads];
    return { purpose, text: isOne ? announceOneText : announceText, values, isPrepared: true };
  }

  get #hasPending(): boolean {
    return payloadNames.some((name) => this.#pending[name].size > 0);
  }

  async #send(): Promise<void> {
    try {
      while (this.#hasPending) await this.#sendPending();
    } finally {
      // Synchronously after the last check. When the promise settles, this would miss what was announced in between.
      this.#isSending = false;
    }
  }

  async #sendPending(): Promise<void> {
    const pending = this.#pending;
    this.#pending = emptySets();
    const payloads = payloadNames.flatMap((name) => encodePayloads(name, pending[name]));
    // A failed announcement is dropped: the results are stored, and a sweep finds them. A queue of old announcements
    // would only delay new ones.
    try {
      await this.#database.notify(this.#queryFor(payloads), announceTimeoutMs);
      this.#isFailing = false;
    } catch (error) {
      if (this.#isClosed) return;
      this.#dropped += 1;
      if (!this.#isFailing)
        this.#options.logger.warn(
          `Notifications are dropped until they succeed again; waits find their results by the sweep. ${String(error)}`,
        );
      this.#isFailing = true;
    }
  }
}

/** The notification of a write that is sent along with it. */
export class Following implements FollowUp {
  readonly query: Query;
  readonly #unanswered: Set<Promise<unknown>>;
  #answered: Promise<unknown> | undefined;

  /** @param unanswered - Holds a promise for each notification that was sent, until the server has answered it. */
  constructor(query: Query, unanswered: Set<Promise<unknown>>) {
    this.query = query;
    this.#unanswered = unanswered;
  }

  /** The server's answer; undefined if the notification could not be sent along. */
  get answered(): Promise<unknown> | undefined {
    return this.#answered;
  }

  onSent(answered: Promise<unknown>): void {
    this.#answered = answered;
    const end = (): boolean => this.#unanswered.delete(settled);
    const settled = answered.then(end, end);
    this.#unanswered.add(settled);
  }
}

const emptySets = (): Record<PayloadName, Set<string>> => ({
  ids: new Set(),
  chunks: new Set(),
  groups: new Set(),
  done: new Set(),
  members: new Set(),
});

/**
 * Decides for one write whether it notifies. If the notification would fail the write, this attempt and later ones are
 * sent without it, so that no result is lost because of its notification.
 */
export class Notifying {
  #notifies: boolean;

  constructor(notifies: boolean) {
    this.#notifies = notifies;
  }

  /** True if the latest attempt notified listeners. Otherwise the rows must still be announced. */
  get notified(): boolean {
    return this.#notifies;
  }

  send<T>(send: (notifies: boolean) => Promise<T>): Promise<T> {
    return send(this.#notifies).catch((error: unknown) => {
      if (!this.#notifies || !(error instanceof DatabaseError && isNotificationFault(error.sqlState))) throw error;
      this.#notifies = false;
      return send(false);
    });
  }
}
