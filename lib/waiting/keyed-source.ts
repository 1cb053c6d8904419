import type { Database } from "../database/database";
import type { ServerClock } from "../database/server-clock";
import type { DatabaseError, WaitTimeoutError } from "../errors";
import type { NotificationKind, NotificationSelection, SubscribedKeys } from "../notifications/notifier";
import type { Notification } from "../notifications/payload";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { CommitReader } from "./catch-up";
import type { Deadlines } from "./deadlines";
import { Feed, type FeedSource } from "./feed";
import type { Mark } from "./feed-history";
import { type LoadReceiver, Loader, type ReadReason } from "./loader";
import type { Found, ReadAnswer, ReadCare } from "./read-attempts";
import type { ReadProblems } from "./read-problems";
import { Router, type WakeCause } from "./router";
import type { NotificationReceiver, Sweep } from "./sweep";
import type { WaitSource } from "./waits";

/** Parts that all sources of a backend share. */
export interface SourceContext {
  readonly options: ResolvedOptions;
  readonly database: Database;
  /** Compares the time of an inline result with the start of a wait. */
  readonly clock: ServerClock;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly sweep: Sweep;
  readonly problems: ReadProblems;
  /** Follows what is awaited, if the notifier needs subscriptions. */
  readonly selection: NotificationSelection | undefined;
  readonly closed: AbortSignal;
  /** Counts waits by what found their value. */
  readonly wokenBy: Record<WakeCause, number>;
  readonly countBatch?: ((size: number) => void) | undefined;
  /** Set if results are read with what telemetry shows of them. */
  readonly isObserved: boolean;
}

/** Names of a kind of values. */
interface SourceNames {
  readonly kind: NotificationKind;
  /** Name of the values for messages, such as `results`. */
  readonly values: string;
  /** Purpose of looks for messages, such as `what was stored`. */
  readonly news: string;
}

/** Values of one kind under keys, such as results or groups. Reads them, and passes them to waits and streams. */
export abstract class KeyedSource<T> implements LoadReceiver<T>, WaitSource<T>, FeedSource<T>, NotificationReceiver {
  readonly router: Router<T>;
  readonly loader: Loader<T>;
  readonly feed: Feed<T>;
  readonly sweep: Sweep;
  readonly deadlines: Deadlines;
  abstract readonly commits: CommitReader;
  protected readonly context: SourceContext;
  readonly #names: SourceNames;

  constructor(context: SourceContext, names: SourceNames) {
    const { options, schemaCheck, deadlines, sweep, selection, closed, countBatch } = context;
    this.context = context;
    this.sweep = sweep;
    this.deadlines = deadlines;
    this.#names = names;
    this.router = new Router<T>(names.kind, selection);
    const { retryTimeoutMs } = options;
    this.loader = new Loader<T>(this, { schemaCheck, deadlines, retryTimeoutMs, closed, countBatch });
    this.feed = new Feed<T>(this);
    sweep.attach(this);
  }

  abstract read(keys: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<T>>;
  abstract isAnswer(value: T): boolean;
  abstract timeoutError(
    key: string,
    timeoutMs: number,
    latest: T | undefined,
    options?: ErrorOptions,
  ): WaitTimeoutError;
  abstract markOf(value: T): Mark;
  abstract receive(notification: Notification): number;

  countWake(cause: WakeCause): void {
    this.context.wokenBy[cause] += 1;
  }

  followAll(isFollowing: boolean): void {
    const { selection } = this.context;
    if (isFollowing) selection?.followAll(this.#names.kind);
    else selection?.unfollowAll(this.#names.kind);
  }

  readForFeed(key: string): void {
    this.loader.request(key, "reconnect");
  }

  looked(error?: Error): void {
    this.context.problems.note(this.#names.news, error);
    if (error !== undefined) this.sweep.hurry();
  }

  reread({ kind, keys, isEverything }: SubscribedKeys): void {
    if (kind !== this.#names.kind) return;
    for (const key of keys) if (this.router.has(key)) this.loader.request(key, "reconnect");
    if (isEverything) this.catchUp();
  }

  rereadAll(cause: WakeCause): void {
    for (const key of this.router.keys()) this.loader.request(key, cause);
    this.catchUp();
  }

  found(key: string, { value, isOld }: Found<T>, { cause, begunAt, isOvertaken }: ReadReason): void {
    this.context.problems.clear(key);
    if (isOvertaken) return;
    if (isOld && this.router.has(key)) this.sweep.countCaught(cause);
    this.router.nextSince(key, value, cause, (beganAt) => beganAt <= begunAt);
  }

  absent(key: string): void {
    this.context.problems.clear(key);
    this.feed.miss(key);
  }

  denied(keys: readonly string[], error: Error, isRowFault: boolean): void {
    for (const key of keys) this.router.error(key, error);
    for (const key of keys) this.feed.miss(key);
    if (isRowFault) this.#leaveOut(keys, error);
    else this.errorStreams(error);
  }

  givenUp(keys: readonly string[], error: DatabaseError, isUrgent: boolean): void {
    this.context.problems.note(this.#names.values, error);
    if (error.transient) this.feed.giveUp(keys, error);
    else {
      this.#leaveOut(keys, error);
      for (const key of keys) this.feed.postpone(key);
    }
    if (isUrgent) this.sweep.hurry();
  }

  recovered(): void {
    this.context.problems.note(this.#names.values);
  }

  /** Errors every wait and stream, and later ones. */
  close(error: Error): void {
    this.feed.close();
    this.router.close(error);
  }

  /** Makes the streams look for values that no notification announced. */
  protected catchUp(): void {
    this.feed.catchUp();
  }

  protected errorStreams(error: Error): void {
    this.feed.error(error);
  }

  #leaveOut(keys: readonly string[], error: Error): void {
    for (const key of keys) if (this.feed.wants(key)) this.context.problems.leaveOut(this.#names.values, key, error);
  }
}
