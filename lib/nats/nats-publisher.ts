import { encodePayloads, type PayloadName, payloadNames, rescanPayload } from "../notifications/payload";
import type { NotificationPublisher } from "../notifications/notifier";
import type { Logger } from "../logger";
import { KeptBatches } from "./kept-batches";
import type { NatsLink } from "./nats-link";
import type { NatsMember, SharedNats } from "./shared-nats";
import type { Subjects } from "./subjects";

export interface NatsPublisherParts {
  readonly shared: SharedNats;
  readonly subjects: Subjects;
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly onUnconfirmed: () => void;
}

/** Ids that are kept at the most, to be announced once more. Beyond that everybody is asked to look at everything, once. */
const maxKeptIds = 20_000;
/** A server may have died with what it had confirmed still in its buffers, or before it reached the others of its cluster. */
const keptMs = 5_000;
/** What was published is confirmed so much later, for all of it together: nobody waits for that, and each confirmation is a way to the server and back. */
const confirmDelayMs = 50;
const confirmTimeoutMs = 5_000;
const drainLimitMs = 2_000;

/**
 * Announces over NATS what has been stored. At once, and not one announcement after the other as in Postgres: the connection keeps their order, and none of them waits for
 * an answer. What is not confirmed, or was announced in the seconds before the connection broke, is announced again by the next.
 */
export class NatsPublisher implements NotificationPublisher, NatsMember {
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly #parts: NatsPublisherParts;
  readonly #kept = new KeptBatches(maxKeptIds, keptMs);
  readonly #drained: (() => void)[] = [];
  /** Up to which batch it has been counted that they could not be confirmed. */
  #counted = 0;
  #needsRescan = false;
  #problem: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #confirming: NatsLink | undefined;
  #isClosed = false;

  constructor(parts: NatsPublisherParts) {
    this.#parts = parts;
    this.logger = parts.logger;
  }

  /** Why what is published is not heard, though NATS is reached. */
  get problem(): string | undefined {
    return this.#problem;
  }

  get isNeedy(): boolean {
    return this.#needsRescan || !this.#kept.isConfirmed;
  }

  announce(name: PayloadName, ids: Iterable<string>): void {
    const list = [...ids];
    if (list.length === 0 || this.#isClosed) return;
    this.#kept.add(name, list, performance.now());
    // Nothing more is to be learnt from ids: with what is missing the others have to look at everything.
    if (this.#kept.hasLost) this.#needsRescan = true;
    const { link } = this.#parts.shared;
    if (link === undefined) {
      this.#parts.shared.need();
      return;
    }
    if (!this.#needsRescan) this.#publish(link, name, list);
    this.#confirmLater();
  }

  rescan(): void {
    if (this.#isClosed) return;
    this.#kept.addGap(performance.now());
    this.#needsRescan = true;
    const { link } = this.#parts.shared;
    if (link === undefined) this.#parts.shared.need();
    else void this.#confirm(link);
  }

  async drain(): Promise<void> {
    if (!this.isNeedy) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, drainLimitMs);
      this.#drained.push(() => {
        clearTimeout(timer);
        resolve();
      });
      const { link } = this.#parts.shared;
      if (link === undefined) this.#parts.shared.need();
      else void this.#confirm(link);
    });
  }

  connected(link: NatsLink): void {
    this.#problem = undefined;
    if (!this.isNeedy) return;
    if (!this.#needsRescan) this.#publishKept(link);
    void this.#confirm(link);
  }

  lost(_problem: string, link: NatsLink): void {
    this.#countUnconfirmed();
    if (this.#kept.doubt(link.provenAt)) this.#needsRescan = true;
  }

  failed(): void {
    this.#countUnconfirmed();
  }

  rested(): void {
    // There is nothing to be said, and so nothing to be done.
  }

  answered(): void {
    const { link } = this.#parts.shared;
    if (link !== undefined) this.#kept.forget(link.provenAt);
  }

  refused(subject: string, problem: string): void {
    if (!this.#parts.subjects.has(subject)) return;
    this.#parts.onUnconfirmed();
    if (this.#problem === undefined) this.logger.warn(`NATS does not allow to publish: ${problem}.`);
    this.#problem = `NATS does not allow to publish: ${problem}`;
  }

  close(): void {
    this.#isClosed = true;
    this.#needsRescan = false;
    this.#kept.clear();
    clearTimeout(this.#timer);
    this.#settleDrains();
  }

  #publishKept(link: NatsLink, afterPlace = 0): void {
    for (const name of payloadNames) this.#publish(link, name, [...this.#kept.idsOf(name, afterPlace)]);
  }

  #publish(link: NatsLink, name: PayloadName, ids: readonly string[]): void {
    const { subjects } = this.#parts;
    const kind = name === "ids" ? "tasks" : "groups";
    for (const payload of encodePayloads(name, ids)) link.publish(subjects.of(kind, subjects.shards), payload);
    const shards = new Map<number, string[]>();
    for (const id of ids) {
      const shard = subjects.shardOf(id);
      const present = shards.get(shard);
      if (present === undefined) shards.set(shard, [id]);
      else present.push(id);
    }
    for (const [shard, members] of shards)
      for (const payload of encodePayloads(name, members)) link.publish(subjects.of(kind, shard), payload);
  }

  #confirmLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const { link } = this.#parts.shared;
      if (link !== undefined) void this.#confirm(link);
    }, confirmDelayMs).unref();
  }

  /** One at a time: what comes meanwhile is for the next. */
  async #confirm(link: NatsLink): Promise<void> {
    if (this.#confirming === link || this.#isClosed) return;
    this.#confirming = link;
    const { last } = this.#kept;
    const wasRescan = this.#needsRescan;
    if (wasRescan) link.publish(this.#parts.subjects.rescan, rescanPayload);
    const isConfirmed = await link.confirm(confirmTimeoutMs);
    if (this.#confirming === link) this.#confirming = undefined;
    // Where it is not, the connection is given up, and the next one begins with all of it.
    if (!isConfirmed || link !== this.#parts.shared.link) return;
    this.#kept.confirm(last, link.provenAt);
    if (wasRescan && !this.#kept.hasLost) {
      this.#needsRescan = false;
      // What came while it was under way.
      this.#publishKept(link, last);
    }
    if (!this.isNeedy) this.#settleDrains();
    else if (this.#drained.length > 0) void this.#confirm(link);
    else this.#confirmLater();
  }

  #settleDrains(): void {
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  #countUnconfirmed(): void {
    const { last, confirmed } = this.#kept;
    for (let place = Math.max(confirmed, this.#counted); place < last; place += 1) this.#parts.onUnconfirmed();
    this.#counted = last;
  }
}
