import type { Subscription } from "rxjs";
import { settledWithin } from "../database/race";
import type { Logger } from "../logger";
import type { NotificationPublisher, NotifierChannelOptions } from "../notifications/notifier";
import { encodePayloads, type PayloadName, payloadNames, rescanPayload } from "../notifications/payload";
import type { NatsConnection, NatsLink, NatsMember, RefusedPublish } from "./nats-connection";
import type { Subjects } from "./options";

/** Most ids that are kept to be announced again. Beyond that, every process is asked to re-read everything. */
const maxKeptIds = 20_000;
/** Time for which confirmed announcements are kept: a server may crash before it has sent them on. */
const keptMs = 5_000;
const confirmTimeoutMs = 5_000;
const drainLimitMs = 2_000;

/**
 * Announces over NATS what has been stored. Announcements are sent at once, in order, and without waiting for an
 * answer. Those that are not confirmed, or were sent in the seconds before the connection was lost, are sent again on
 * the next one.
 */
export class NatsPublisher implements NotificationPublisher, NatsMember {
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly #connection: NatsConnection;
  readonly #subjects: Subjects;
  readonly #onUnconfirmed: () => void;
  readonly #log = new AnnouncementLog(maxKeptIds, keptMs);
  readonly #drained: (() => void)[] = [];
  /** Place of the latest announcement that was counted as unconfirmed. */
  #counted = 0;
  #problem: string | undefined;
  #confirming: NatsLink | undefined;
  #refusals: Subscription | undefined;
  #isClosed = false;

  constructor(connection: NatsConnection, subjects: Subjects, { logger, onUnconfirmed }: NotifierChannelOptions) {
    this.#connection = connection;
    this.#subjects = subjects;
    this.#onUnconfirmed = onUnconfirmed;
    this.logger = logger;
  }

  /** Reason why other processes do not receive what is published although NATS is connected. */
  get problem(): string | undefined {
    return this.#problem;
  }

  get isActive(): boolean {
    return !this.#log.isConfirmed;
  }

  announce(name: PayloadName, ids: Iterable<string>): void {
    const list = [...ids];
    if (list.length > 0) this.#announce(name, list);
  }

  rescan(): void {
    this.#announce("rescan", []);
  }

  async drain(): Promise<void> {
    if (!this.isActive) return;
    const drained = new Promise<void>((resolve) => this.#drained.push(resolve));
    if (this.#connection.session === undefined) this.#connection.start();
    await settledWithin(drained, drainLimitMs);
  }

  connected(link: NatsLink): void {
    this.#problem = undefined;
    this.#refusals = link.refused$.subscribe((refused) => this.#refused(refused));
    if (!this.isActive) return;
    this.#publish(link, this.#log.unconfirmed());
    void this.#confirm(link);
  }

  disconnected(_problem: string, link?: NatsLink): void {
    const { last, confirmed } = this.#log;
    for (let place = Math.max(confirmed, this.#counted); place < last; place += 1) this.#onUnconfirmed();
    this.#counted = last;
    if (link !== undefined) this.#log.doubt(link.provenAt);
  }

  close(): void {
    this.#isClosed = true;
    this.#log.clear();
    this.#refusals?.unsubscribe();
    this.#settleDrains();
  }

  #announce(name: Announcement["name"], ids: readonly string[]): void {
    if (this.#isClosed) return;
    const announcement = this.#log.add(name, ids, performance.now());
    const { session } = this.#connection;
    if (session === undefined) {
      this.#connection.start();
      return;
    }
    this.#publish(session, [announcement]);
    void this.#confirm(session);
  }

  #refused({ subject, problem }: RefusedPublish): void {
    if (!this.#subjects.has(subject)) return;
    this.#onUnconfirmed();
    if (this.#problem === undefined) this.logger.warn(`NATS does not allow publishing: ${problem}.`);
    this.#problem = `NATS does not allow publishing: ${problem}`;
  }

  /** Publishes announcements, each id once. A request to re-read everything covers all of them. */
  #publish(link: NatsLink, announcements: readonly Announcement[]): void {
    if (announcements.some(({ name }) => name === "rescan")) {
      link.publish(this.#subjects.rescan, rescanPayload);
      return;
    }
    for (const name of payloadNames) {
      const ids = new Set(announcements.flatMap((each) => (each.name === name ? each.ids : [])));
      if (ids.size > 0) this.#publishIds(link, name, ids);
    }
  }

  #publishIds(link: NatsLink, name: PayloadName, ids: ReadonlySet<string>): void {
    const kind = name === "ids" || name === "chunks" ? "tasks" : "groups";
    const bySubject = new Map([[this.#subjects.all(kind), [...ids]]]);
    for (const id of ids) {
      const subject = this.#subjects.shard(kind, this.#subjects.shardOf(id));
      const present = bySubject.get(subject);
      if (present === undefined) bySubject.set(subject, [id]);
      else present.push(id);
    }
    for (const [subject, members] of bySubject)
      for (const payload of encodePayloads(name, members)) link.publish(subject, payload);
  }

  /** Confirms everything published so far. What is published meanwhile is left to the next confirmation. */
  async #confirm(link: NatsLink): Promise<void> {
    if (this.#confirming === link || this.#isClosed) return;
    this.#confirming = link;
    const { last } = this.#log;
    const isConfirmed = await link.confirm(confirmTimeoutMs);
    if (this.#confirming === link) this.#confirming = undefined;
    // Without a confirmation the connection is lost, and the next one begins with everything in the log.
    if (!isConfirmed || link !== this.#connection.session) return;
    this.#log.confirm(last, link.provenAt);
    if (!this.isActive) this.#settleDrains();
    else void this.#confirm(link);
  }

  #settleDrains(): void {
    for (const resolve of this.#drained.splice(0)) resolve();
  }
}

/** Ids that were announced together, or (`rescan`) a request to re-read everything. */
interface Announcement {
  readonly name: PayloadName | "rescan";
  readonly ids: readonly string[];
  readonly at: number;
  /** Counts from 1. */
  readonly place: number;
}

/**
 * Remembers what may have to be announced again: everything unconfirmed and, for a while, what was confirmed. Bounded:
 * too many ids are replaced by a request to re-read everything.
 */
export class AnnouncementLog {
  readonly #maxIds: number;
  readonly #keptMs: number;
  #kept: Announcement[] = [];
  #ids = 0;
  #last = 0;
  #confirmed = 0;

  constructor(maxIds: number, keptMs: number) {
    this.#maxIds = maxIds;
    this.#keptMs = keptMs;
  }

  /** Place of the latest announcement. */
  get last(): number {
    return this.#last;
  }

  /** Place up to which everything is confirmed. */
  get confirmed(): number {
    return this.#confirmed;
  }

  get isConfirmed(): boolean {
    return this.#confirmed === this.#last;
  }

  /** Adds an announcement. Beyond the limit, one request to re-read everything replaces all that is kept. */
  add(name: Announcement["name"], ids: readonly string[], at: number): Announcement {
    const added = { name, ids, at, place: (this.#last += 1) };
    this.#kept.push(added);
    this.#ids += ids.length;
    if (this.#ids > this.#maxIds) {
      this.#kept = [{ ...added, name: "rescan", ids: [] }];
      this.#ids = 0;
    }
    return added;
  }

  /** Returns what is not confirmed. */
  unconfirmed(): Announcement[] {
    return this.#kept.filter(({ place }) => place > this.#confirmed);
  }

  /** Notes that the server, which was alive at `provenAt`, has received everything up to `place`. */
  confirm(place: number, provenAt: number): void {
    this.#confirmed = Math.max(this.#confirmed, place);
    this.#forget(provenAt);
  }

  /** Notes the loss of a connection that was alive at `provenAt`: nothing kept counts as confirmed any more. */
  doubt(provenAt: number): void {
    this.#forget(provenAt);
    const [oldest] = this.#kept;
    if (oldest !== undefined) this.#confirmed = oldest.place - 1;
  }

  clear(): void {
    this.#kept = [];
    this.#ids = 0;
    this.#confirmed = this.#last;
  }

  /** Forgets confirmed announcements from long before `provenAt`, which the server has sent on by now. */
  #forget(provenAt: number): void {
    const isKept = ({ place, at }: Announcement): boolean => place > this.#confirmed || at > provenAt - this.#keptMs;
    const first = this.#kept.findIndex(isKept);
    const forgotten = this.#kept.splice(0, first === -1 ? this.#kept.length : first);
    for (const { ids } of forgotten) this.#ids -= ids.length;
  }
}
