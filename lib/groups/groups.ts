import {
  catchError,
  concatMap,
  defer,
  distinctUntilChanged,
  filter,
  firstValueFrom,
  map,
  type Observable,
  of,
} from "rxjs";
import { mayPass } from "../database/backend-error";
import { pause } from "../database/race";
import { WaitTimeoutError } from "../errors";
import type { Notification } from "../notifications/payload";
import type { GroupProgress, WaitOptions } from "../result-backend";
import { TableCommits } from "../results/table-commits";
import type { StoredResult } from "../value/decoding";
import type { Mark } from "../waiting/feed-history";
import { KeyedSource, type SourceContext } from "../waiting/keyed-source";
import type { ReadReason } from "../waiting/loader";
import type { Found, ReadAnswer, ReadCare } from "../waiting/read-attempts";
import { lastReadMs, type WaitLimits, watch$ } from "../waiting/waits";
import { GroupChanges } from "./group-changes";
import { expiredError, GroupReads, type StoredGroup, whileSubscribed } from "./group-reads";
import { isSameProgress } from "./group-rules";
import { groupStatements } from "./group-statements";
import { graceMs, GroupTimers } from "./group-timers";

type GroupLimits = WaitOptions & Pick<WaitLimits, "site">;

function lateError(
  { progress }: StoredGroup,
  limits: GroupLimits | undefined,
  options?: ErrorOptions,
): WaitTimeoutError {
  const error = WaitTimeoutError.forGroup(progress.groupId, limits?.timeoutMs ?? 0, progress, options);
  return limits?.site?.show(error) ?? error;
}

/** Reads and awaits groups. */
export class Groups extends KeyedSource<StoredGroup> {
  readonly commits: TableCommits;
  readonly reads: GroupReads;
  readonly changes: GroupChanges;
  readonly #timers: GroupTimers;
  /** Unsettled waits. While the results of a done group are read, its waits are no longer in the router. */
  readonly #waiting = new Set<Promise<unknown>>();

  constructor(context: SourceContext) {
    super(context, { kind: "groups", values: "groups", news: "completed groups" });
    const { database, options, problems } = context;
    this.commits = new TableCommits(database, groupStatements(options).commits, options.retryTimeoutMs);
    this.reads = new GroupReads(context);
    this.changes = new GroupChanges(this, this.reads, problems);
    this.#timers = new GroupTimers(this);
  }

  async read(groupIds: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<StoredGroup>> {
    return this.reads.groups(groupIds, timeoutMs, care?.limitMs);
  }

  isAnswer({ progress }: StoredGroup): boolean {
    return progress.done;
  }

  timeoutError(
    groupId: string,
    timeoutMs: number,
    latest: StoredGroup | undefined,
    options?: ErrorOptions,
  ): WaitTimeoutError {
    return WaitTimeoutError.forGroup(groupId, timeoutMs, latest?.progress, options);
  }

  markOf({ progress, doneXid }: StoredGroup): Mark {
    return { key: progress.groupId, xid: doneXid };
  }

  /** Number of subscribers of the streams about all groups. */
  get subscribers(): number {
    const { feed, changes } = this;
    // The streams of changes share one subscription to the completions.
    return feed.subscribers + changes.subscribers - (changes.isObserved ? 1 : 0);
  }

  /** Reads the progress of a group. Waits for a settling group, unless placeholders arrive after its members. */
  async progress(groupId: string): Promise<GroupProgress | undefined> {
    for (;;) {
      const group = await this.loader.load(groupId, "read");
      if (group === undefined || group.settlesMs === null || group.isDeclaredLate) return group?.progress;
      await pause(group.settlesMs + graceMs, [this.context.closed]);
    }
  }

  /** Emits the progress of a group at every change. */
  group$(groupId: string): Observable<GroupProgress> {
    return watch$(this, groupId).pipe(
      map(({ progress }) => progress),
      distinctUntilChanged(isSameProgress),
    );
  }

  /** Emits the outcome of each member once, in the order in which they finish. */
  members$(groupId: string): Observable<StoredResult> {
    return this.reads.members$(groupId, watch$(this, groupId));
  }

  /** Emits the results of a group once it is done. Without limits it errors when the group expires. */
  results$(groupId: string, limits?: WaitOptions): Observable<readonly StoredResult[]> {
    return defer(() => {
      // Later waits of the same call begin elsewhere.
      const traced = limits && { ...limits, site: this.context.deadlines.callSite() };
      return this.#resultsUntil$(groupId, performance.now() + (limits?.timeoutMs ?? Infinity), traced);
    });
  }

  async wait(groupId: string, options: WaitOptions): Promise<readonly StoredResult[]> {
    const results = firstValueFrom(this.results$(groupId, options));
    this.#waiting.add(results);
    return results.finally(() => this.#waiting.delete(results));
  }

  /** Resolves once no wait is open and its results have been read. */
  async drain(): Promise<void> {
    await this.router.drain();
    await Promise.allSettled(this.#waiting);
  }

  completions$(): Observable<GroupProgress> {
    return this.feed.values$(() => true).pipe(map(({ progress }) => progress));
  }

  receive({ groupIds, doneGroupIds, memberGroupIds }: Notification): number {
    const isWatched = (groupId: string): boolean => this.changes.isObserved || this.router.has(groupId);
    const isWanted = (groupId: string): boolean => this.feed.subscribers > 0 || this.router.has(groupId);
    // These may be done now. Whether that is new follows from the transaction that completed them.
    const done = [...doneGroupIds, ...memberGroupIds].filter(isWanted);
    for (const groupId of done) this.loader.request(groupId, "notification", true);
    const changed = groupIds.filter(isWatched);
    for (const groupId of changed) this.loader.request(groupId, "notification");
    return done.length + changed.length;
  }

  override found(groupId: string, found: Found<StoredGroup>, reason: ReadReason): void {
    const { value } = found;
    this.#timers.observeSettling(value, reason);
    // A group that the feed requested may be open again.
    if (value.progress.done) this.feed.offer(value, reason);
    else this.feed.miss(groupId);
    super.found(groupId, found, reason);
    if (reason.isOvertaken) return;
    this.#timers.observeDeadline(value);
    this.changes.offer(value.progress);
  }

  protected override catchUp(): void {
    super.catchUp();
    this.changes.catchUp();
  }

  #resultsUntil$(groupId: string, dueAt: number, limits?: GroupLimits): Observable<readonly StoredResult[]> {
    const timeoutMs = Math.max(0, dueAt - performance.now());
    return this.#done$(groupId, { ...limits, timeoutMs, callTimeoutMs: limits?.timeoutMs ?? Infinity }).pipe(
      concatMap((group) =>
        whileSubscribed(async (unsubscribed) => this.#resultsOf(group, dueAt, unsubscribed, limits)).pipe(
          concatMap((results) => (results === undefined ? this.#resultsUntil$(groupId, dueAt, limits) : of(results))),
        ),
      ),
    );
  }

  /** Emits a group once it is done. A group that is settling at the deadline gets one more read after it. */
  #done$(groupId: string, limits: WaitLimits): Observable<StoredGroup> {
    const done$ = (within: WaitLimits): Observable<StoredGroup> =>
      watch$(this, groupId, within).pipe(filter(({ progress }) => progress.done));
    return done$(limits).pipe(
      catchError((error: unknown) => {
        if (!(error instanceof WaitTimeoutError && this.#timers.isSettling(groupId))) throw error;
        return defer(async () => this.progress(groupId)).pipe(concatMap(() => done$({ ...limits, timeoutMs: 0 })));
      }),
    );
  }

  /** Reads the results of a done group. Resolves with undefined if the group must be awaited again. */
  async #resultsOf(
    group: StoredGroup,
    dueAt: number,
    unsubscribed: AbortSignal,
    limits?: GroupLimits,
  ): Promise<readonly StoredResult[] | undefined> {
    const signals = limits?.signal === undefined ? [unsubscribed] : [unsubscribed, limits.signal];
    let isAbsent = false;
    try {
      // Reading the results may take the remaining time plus that of a last read, through any outage.
      const readDueAt = Math.max(dueAt, performance.now()) + lastReadMs;
      const { results, group: present } = await this.reads.ofDone(group, { dueAt: readDueAt, signals });
      if (results !== undefined) return results;
      isAbsent = present === undefined;
    } catch (error) {
      if (!mayPass(error)) throw error;
      throw lateError(group, limits, { cause: error });
    }
    // Meanwhile the group has expired or is open again.
    if (limits === undefined && isAbsent) throw expiredError(group);
    if (performance.now() >= dueAt) throw lateError(group, limits);
    return undefined;
  }
}
