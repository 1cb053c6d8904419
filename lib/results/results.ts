import { WaitTimeoutError } from "../errors";
import type { Notification } from "../notifications/payload";
import type { StoredResult } from "../value/stored-result";
import type { SubscribedKeys } from "../notifications/notifier";
import { resultStatements } from "./statements";
import { TableCommits } from "./table-commits";
import { Feed } from "../waiting/feed";
import type { Interest } from "../waiting/interest";
import { type Found, Loader, type ReadReason } from "../waiting/loader";
import { Refusals } from "../waiting/refusals";
import { ResultReads } from "./result-reads";
import { Router, type WakeCause } from "../waiting/router";
import type { NotificationReceiver } from "../waiting/wakeups";
import { Waits } from "../waiting/waits";

/** Reading and awaiting results of tasks: a router, a loader, the waits and the feed, put together. */
export class Results implements NotificationReceiver {
  readonly loader: Loader<StoredResult>;
  readonly waits: Waits<StoredResult>;
  readonly feed: Feed<StoredResult>;
  readonly router: Router<StoredResult>;
  readonly #interest: Interest;
  readonly #refusals: Refusals;

  constructor(interest: Interest) {
    const { options, sweep, selection } = interest;
    const router = (this.router = new Router<StoredResult>("tasks", selection));
    const statements = resultStatements(options, interest.isObserved);
    const reads = new ResultReads(interest, statements);
    this.#interest = interest;
    const refusals = (this.#refusals = new Refusals(options.logger));
    this.loader = new Loader({
      ...interest,
      retryTimeoutMs: options.retryTimeoutMs,
      read: (taskIds, timeoutMs, care) => reads.read(taskIds, timeoutMs, care),
      onRead: () => interest.troubles.clear("results"),
      onFound: (taskId, found, reason) => this.#onFound(taskId, found, reason),
      onAbsent: (taskId) => {
        refusals.clear(taskId);
        this.feed.miss(taskId);
      },
      onDenied: (taskIds, error, isTheirFault) => {
        for (const taskId of taskIds) router.error(taskId, error);
        for (const taskId of taskIds) this.feed.miss(taskId);
        if (!isTheirFault) this.feed.error(error);
        else for (const taskId of taskIds) if (this.feed.wants(taskId)) refusals.note(taskId, error);
      },
      onGivenUp: (taskIds, error, isUrgent) => {
        interest.troubles.fail("results", error);
        if (error.transient) this.feed.giveUp(taskIds, error);
        else
          for (const taskId of taskIds) {
            if (this.feed.wants(taskId)) refusals.note(taskId, error);
            this.feed.postpone(taskId);
          }
        if (isUrgent) sweep.hurry();
      },
    });
    this.waits = new Waits({
      ...interest,
      router,
      loader: this.loader,
      isAnswer: () => true,
      timeoutError: (taskId, timeoutMs, _latest, errorOptions) =>
        new WaitTimeoutError({ taskId }, timeoutMs, errorOptions),
    });
    this.feed = new Feed({
      sweep,
      onObserved: (isObserved) => (isObserved ? selection?.followAll("tasks") : selection?.unfollowAll("tasks")),
      markOf: ({ taskId, storedXid = 0 }) => ({ key: taskId, xid: storedXid }),
      onLook: interest.troubles.of("what was stored"),
      commits: new TableCommits(interest.database, statements.commits, options.retryTimeoutMs),
      request: (taskId) => this.loader.request(taskId, "reconnect"),
    });
  }

  /** Resolves once nobody waits any more. */
  async drain(): Promise<void> {
    await this.router.drain();
  }

  receive({ taskIds, inline }: Notification): number {
    const trustInline = this.#interest.options.inlineResultBytes > 0;
    let relevant = 0;
    for (const taskId of taskIds) if (this.#onNotification(taskId)) relevant += 1;
    for (const stored of inline)
      if (trustInline ? this.#onInline(stored) : this.#onNotification(stored.taskId)) relevant += 1;
    return relevant;
  }

  reread({ kind, keys, isEverything }: SubscribedKeys): void {
    if (kind !== "tasks") return;
    for (const taskId of keys) if (this.router.has(taskId)) this.loader.request(taskId, "reconnect");
    if (isEverything) this.feed.catchUp();
  }

  rereadAll(cause: WakeCause): void {
    // It may be another server that is listened to from here on.
    if (cause === "reconnect" && this.#interest.options.inlineResultBytes > 0) this.#interest.clock.refresh();
    for (const taskId of this.router.keys()) this.loader.request(taskId, cause);
    this.loader.askAgain((taskId) => this.feed.wants(taskId));
    this.feed.catchUp();
  }

  #onNotification(taskId: string): boolean {
    if (!this.router.has(taskId) && !this.feed.wants(taskId)) return false;
    this.loader.request(taskId, "notification", true);
    return true;
  }

  #onInline(stored: StoredResult): boolean {
    const { taskId } = stored;
    if (!this.router.has(taskId) && !this.feed.wants(taskId)) return false;
    const isTooOld = this.router.nextSince(taskId, stored, "inline", this.#isStoredAfter(stored));
    const isEmitted = this.feed.offerUnread(stored);
    if (isTooOld || !isEmitted) this.loader.request(taskId, "notification", true);
    return true;
  }

  /**
   * Tells whether a result is certain to have been stored after a local moment: one that was stored before may have been deleted or replaced since, as notifications can be late. A time
   * that is yet to come proves nothing.
   */
  #isStoredAfter({ storedAt }: StoredResult): (beganAt: number) => boolean {
    const { clock, deadlines } = this.#interest;
    // Asked first, since this has the clock read where it is not known yet.
    const now = clock.upper(deadlines.now());
    const isPast = clock.isKnown && storedAt <= now;
    return (beganAt) => isPast && storedAt > clock.upper(beganAt);
  }

  #onFound(taskId: string, { value, isOld }: Found<StoredResult>, reason: ReadReason): void {
    this.#refusals.clear(taskId);
    if (!reason.isOvertaken) {
      if (isOld && this.router.has(taskId)) this.#interest.sweep.countCaught(reason.cause);
      this.router.next(taskId, value, reason.cause);
    }
    this.feed.offer(value, reason);
  }
}
