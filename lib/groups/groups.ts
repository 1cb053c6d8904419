import { distinctUntilChanged, filter, firstValueFrom, from, map, mergeMap, Observable, of } from "rxjs";
import { mayPass } from "../database/backend-error";
import { isTransient, retryUntilAborted } from "../database/retry";
import { WaitTimeoutError } from "../errors";
import type { Notification } from "../notifications/payload";
import type { StoredResult } from "../value/stored-result";
import type { SubscribedKeys } from "../notifications/notifier";
import type { GroupProgress, WaitOptions } from "../result-backend";
import { TableCommits } from "../results/table-commits";
import { Feed } from "../waiting/feed";
import type { Interest } from "../waiting/interest";
import { type Found, Loader, type ReadAnswer, type ReadReason } from "../waiting/loader";
import { Refusals } from "../waiting/refusals";
import { Router, type WakeCause } from "../waiting/router";
import type { NotificationReceiver } from "../waiting/wakeups";
import { lastReadMs, type WaitLimits, Waits } from "../waiting/waits";
import { GroupChanges } from "./group-changes";
import { GroupDeadlines } from "./group-deadlines";
import { type MemberPageRow, type ReadMemberPage, resultsByNow, resultsOfDone } from "./group-results";
import { type GroupStatements, groupStatements } from "./group-statements";
import { type FinishedMember, type MemberPage, members$ } from "./member-stream";
import { SettlingGroups } from "./settling-groups";
import { type GroupRow, type StoredGroup, toStoredGroup } from "./stored-group";

type FinishedRow = [
  isDone: boolean,
  completed: number,
  failed: number,
  taskId: string | null,
  /** Null if it is longer than may be read. */
  value: string | null,
  isFailed: boolean | null,
  finishedSeq: string | null,
  candidates: number | null,
];

interface ReadLimits {
  /** On the clock of `performance.now()`. */
  readonly dueAt: number;
  readonly signal: AbortSignal | undefined;
}

/** Reading and awaiting groups: the same parts as for results, with what is special to groups. */
export class Groups implements NotificationReceiver {
  readonly router: Router<StoredGroup>;
  readonly loader: Loader<StoredGroup>;
  readonly waits: Waits<StoredGroup>;
  readonly feed: Feed<StoredGroup>;
  readonly changes: GroupChanges;
  readonly #interest: Interest;
  readonly #refusals: Refusals;
  readonly #statements: GroupStatements;
  readonly #deadlines: GroupDeadlines;
  readonly #settling: SettlingGroups;
  /** Waits that have not been answered: when a group is known to be done its results are yet to be read. */
  readonly #waiting = new Set<Promise<unknown>>();

  constructor(interest: Interest) {
    const { options, sweep, deadlines, selection } = interest;
    const router = (this.router = new Router<StoredGroup>("groups", selection));
    const onObserved = (isObserved: boolean): void =>
      isObserved ? selection?.followAll("groups") : selection?.unfollowAll("groups");
    this.#interest = interest;
    const refusals = (this.#refusals = new Refusals(options.logger));
    this.#statements = groupStatements(options);
    this.loader = new Loader({
      ...interest,
      retryTimeoutMs: options.retryTimeoutMs,
      read: async (groupIds, timeoutMs, care) => this.#read(groupIds, timeoutMs, care?.limitMs),
      onRead: () => interest.troubles.clear("groups"),
      onFound: (groupId, found, reason) => this.#onFound(groupId, found, reason),
      onAbsent: (groupId) => {
        refusals.clear(groupId);
        this.feed.miss(groupId);
      },
      onDenied: (groupIds, error, isTheirFault) => {
        for (const groupId of groupIds) router.error(groupId, error);
        for (const groupId of groupIds) this.feed.miss(groupId);
        if (isTheirFault) {
          for (const groupId of groupIds) if (this.feed.wants(groupId)) refusals.note(groupId, error);
          return;
        }
        this.feed.error(error);
        this.changes.error(error);
      },
      onGivenUp: (groupIds, error, isUrgent) => {
        interest.troubles.fail("groups", error);
        if (error.transient) this.feed.giveUp(groupIds, error);
        else
          for (const groupId of groupIds) {
            if (this.feed.wants(groupId)) refusals.note(groupId, error);
            this.feed.postpone(groupId);
          }
        if (isUrgent) sweep.hurry();
      },
    });
    this.waits = new Waits({
      ...interest,
      router,
      loader: this.loader,
      isAnswer: ({ progress }) => progress.done,
      timeoutError: (groupId, timeoutMs, latest, errorOptions) =>
        WaitTimeoutError.forGroup(groupId, timeoutMs, latest?.progress, errorOptions),
    });
    this.feed = new Feed({
      sweep,
      onObserved,
      markOf: ({ progress, doneXid }) => ({ key: progress.groupId, xid: doneXid }),
      onLook: interest.troubles.of("completed groups"),
      commits: new TableCommits(interest.database, this.#statements.commits, options.retryTimeoutMs),
      request: (groupId) => this.loader.request(groupId, "reconnect"),
    });
    this.changes = new GroupChanges({
      sweep,
      completions$: this.completions$(),
      onLook: interest.troubles.of("open groups"),
      readOpen: async (limit) => (await this.open(limit)).map(({ groupId }) => groupId),
      request: (groupId) => this.loader.request(groupId, "reconnect"),
    });
    this.#deadlines = new GroupDeadlines({
      deadlines,
      router,
      load: async (groupId) => this.loader.load(groupId, "deadline"),
    });
    this.#settling = new SettlingGroups({
      deadlines,
      isWanted: (groupId) => router.has(groupId) || this.feed.subscribers > 0 || this.changes.isObserved,
      request: (groupId, cause, isNew) => (isNew ? this.feed.ask(groupId) : this.loader.request(groupId, cause)),
    });
  }

  /** Subscribers of all streams about all groups. */
  get subscribers(): number {
    const { feed, changes } = this;
    // Those who follow changes share one subscription to the completions.
    return feed.subscribers + changes.subscribers - (changes.isObserved ? 1 : 0);
  }

  /** How far a group is. One that is about to be done is waited for, unless members finish before they are declared. */
  async progress(groupId: string): Promise<GroupProgress | undefined> {
    for (;;) {
      const group = await this.loader.load(groupId, "read");
      if (group === undefined || group.settlesMs === null || group.isDeclaredLate) return group?.progress;
      await this.#settling.settled(group);
    }
  }

  /** How far a group is, at every change. */
  group$(groupId: string): Observable<GroupProgress> {
    return this.waits.watch$(groupId).pipe(
      map(({ progress }) => progress),
      distinctUntilChanged(
        (a, b) => a.completed === b.completed && a.failed === b.failed && a.total === b.total && a.done === b.done,
      ),
    );
  }

  /** What became of its members, each once. */
  members$(groupId: string): Observable<StoredResult> {
    const read = async (text: string, values: unknown[], signal: AbortSignal): Promise<MemberPage> =>
      toMemberPage(await this.#query<FinishedRow>("read group members", text, values, { dueAt: Infinity, signal }));
    const { finishedMembers, unnumberedMembers } = this.#statements;
    return members$(groupId, this.waits.watch$(groupId), {
      readFinished: async (afterSeq, limit, signal) => read(finishedMembers, [groupId, afterSeq, limit], signal),
      readUnnumbered: async (afterTaskId, limit, signal) =>
        read(unnumberedMembers, [groupId, afterTaskId, limit], signal),
    });
  }

  /** Its results, once it is done. */
  results$(groupId: string): Observable<StoredResult[]> {
    return this.#done$(groupId).pipe(
      mergeMap((group) =>
        whileSubscribed(async (signal) => this.#resultsOf(group, { dueAt: Infinity, signal })).pipe(
          mergeMap((results) => (results === undefined ? this.#resultsAgain$(group) : of(results))),
        ),
      ),
    );
  }

  async wait(groupId: string, options: WaitOptions): Promise<StoredResult[]> {
    const results = this.#wait(groupId, options);
    this.#waiting.add(results);
    return results.finally(() => this.#waiting.delete(results));
  }

  /** Resolves once nobody waits any more, with the results in hand. */
  async drain(): Promise<void> {
    await this.router.drain();
    await Promise.allSettled(this.#waiting);
  }

  /** The results of the members that are completed by now. */
  async results(groupId: string): Promise<StoredResult[]> {
    return resultsByNow(groupId, this.#pageReader());
  }

  /** Groups that are not done, by id. */
  async open(limit: number): Promise<GroupProgress[]> {
    type Columns = [groupId: string, total: number | null, completed: number, failed: number];
    const rows = await this.#query<Columns>("read open groups", this.#statements.open, [limit]);
    return rows.map(([groupId, total, completed, failed]) => ({ groupId, total, completed, failed, done: false }));
  }

  completions$(): Observable<GroupProgress> {
    return this.feed.values$(() => true).pipe(map(({ progress }) => progress));
  }

  receive({ groupIds, doneGroupIds, memberGroupIds }: Notification): number {
    const isWatched = (groupId: string): boolean => this.changes.isObserved || this.router.has(groupId);
    const isWanted = (groupId: string): boolean => this.feed.subscribers > 0 || isWatched(groupId);
    // These may be done now. Whether it is news is told by the transaction in which they got done.
    const done = [...doneGroupIds, ...memberGroupIds].filter(isWanted);
    for (const groupId of done) this.loader.request(groupId, "notification", true);
    const changed = groupIds.filter(isWatched);
    for (const groupId of changed) this.loader.request(groupId, "notification");
    return done.length + changed.length;
  }

  reread({ kind, keys, isEverything }: SubscribedKeys): void {
    if (kind !== "groups") return;
    for (const groupId of keys) if (this.router.has(groupId)) this.loader.request(groupId, "reconnect");
    if (!isEverything) return;
    this.feed.catchUp();
    this.changes.catchUp();
  }

  rereadAll(cause: WakeCause): void {
    for (const groupId of this.router.keys()) this.loader.request(groupId, cause);
    this.loader.askAgain(() => this.feed.subscribers > 0 || this.changes.isObserved);
    this.feed.catchUp();
    this.changes.catchUp();
  }

  async #read(groupIds: readonly string[], timeoutMs: number, limitMs?: number): Promise<ReadAnswer<StoredGroup>> {
    const query = { purpose: "read groups", text: this.#statements.read, values: [groupIds] };
    const { database } = this.#interest;
    const rows = await (limitMs === undefined
      ? database.query<GroupRow>(query, timeoutMs)
      : database.queryLimited<GroupRow>(query, limitMs, timeoutMs));
    return { found: new Map(rows.map((row) => [row[0], { value: toStoredGroup(row), isOld: row[7] }])) };
  }

  #onFound(groupId: string, { value, isOld }: Found<StoredGroup>, reason: ReadReason): void {
    const { cause, isOvertaken } = reason;
    this.#refusals.clear(groupId);
    // A group that a look asked for may be open again.
    this.#settling.observe(value, cause, () => this.feed.isNew(value, reason));
    if (value.progress.done) this.feed.offer(value, reason);
    else this.feed.miss(groupId);
    if (isOvertaken) return;
    if (isOld && this.router.has(groupId)) this.#interest.sweep.countCaught(cause);
    this.router.next(groupId, value, cause);
    this.#deadlines.observe(value);
    this.changes.offer(value.progress);
  }

  async #wait(groupId: string, options: WaitOptions): Promise<StoredResult[]> {
    const { timeoutMs, signal } = options;
    const deadline = performance.now() + timeoutMs;
    for (let leftMs = timeoutMs; ; leftMs = Math.max(0, deadline - performance.now())) {
      const group = await this.#done(groupId, { ...options, timeoutMs: leftMs, callTimeoutMs: timeoutMs });
      // Its results may take what is left of the time, and as long as a last read: neither longer, nor does an outage end the wait before.
      const dueAt = Math.max(deadline, performance.now()) + lastReadMs;
      try {
        const results = await this.#resultsOf(group, { dueAt, signal });
        if (results !== undefined) return results;
      } catch (error) {
        if (!mayPass(error)) throw error;
        throw WaitTimeoutError.forGroup(groupId, timeoutMs, group.progress, { cause: error });
      }
      // It has expired since it was seen to be done, or is open again.
      if (performance.now() >= deadline) throw WaitTimeoutError.forGroup(groupId, timeoutMs, group.progress);
    }
  }

  /** Waits until a group is done. One that settles is waited for beyond the deadline, as long as a last read may take. */
  async #done(groupId: string, options: WaitLimits): Promise<StoredGroup> {
    try {
      return await firstValueFrom(this.#done$(groupId, options));
    } catch (error) {
      if (!(error instanceof WaitTimeoutError && this.#settling.has(groupId))) throw error;
      if ((await this.progress(groupId))?.done !== true) throw error;
      return firstValueFrom(this.#done$(groupId, { ...options, timeoutMs: 0 }));
    }
  }

  #done$(groupId: string, limits?: WaitLimits): Observable<StoredGroup> {
    return this.waits.watch$(groupId, limits).pipe(filter(({ progress }) => progress.done));
  }

  async #resultsOf({ progress }: StoredGroup, limits: ReadLimits): Promise<StoredResult[] | undefined> {
    return resultsOfDone(progress.groupId, progress.failed > 0, this.#pageReader(limits));
  }

  /** For a group that was done and is no longer: waits for it if it is open again, and errors if it has expired. */
  #resultsAgain$(group: StoredGroup): Observable<StoredResult[]> {
    const { progress, deadlineMs } = group;
    return whileSubscribed(async (signal) => this.#present(progress.groupId, signal)).pipe(
      mergeMap((present) => {
        if (present !== undefined) return this.results$(progress.groupId);
        throw WaitTimeoutError.forGroup(progress.groupId, deadlineMs ?? 0, progress);
      }),
    );
  }

  /** A group as it is now, however long an outage lasts. */
  async #present(groupId: string, signal: AbortSignal): Promise<StoredGroup | undefined> {
    return retryUntilAborted(async () => this.loader.load(groupId, "read"), {
      dueAt: Infinity,
      signals: [this.#interest.closed, signal],
      isPassing: mayPass,
    });
  }

  #pageReader(limits?: ReadLimits): ReadMemberPage {
    return async (kind, groupId, afterTaskId, maxRows) =>
      this.#query<MemberPageRow>(`read group ${kind}`, this.#statements[kind], [groupId, afterTaskId, maxRows], limits);
  }

  async #query<Row extends unknown[]>(
    purpose: string,
    text: string,
    values: unknown[],
    { dueAt, signal }: Partial<ReadLimits> = {},
  ): Promise<Row[]> {
    const { database, options, closed, schemaCheck } = this.#interest;
    const attempt = async (attemptMs: number): Promise<Row[]> => {
      await schemaCheck.pass(attemptMs);
      return database.query<Row>({ purpose, text, values, isPaced: true }, attemptMs);
    };
    return retryUntilAborted(attempt, {
      dueAt: dueAt ?? performance.now() + options.retryTimeoutMs,
      attemptMs: options.retryTimeoutMs / 2,
      signals: signal === undefined ? [closed] : [closed, signal],
      // A call is rejected by what a policy raises; a stream or a wait goes on.
      isPassing: dueAt === undefined ? isTransient : mayPass,
    });
  }
}

function toMemberPage(rows: readonly FinishedRow[]): MemberPage {
  const [first] = rows;
  const members = rows.flatMap(([, , , taskId, value, isFailed, finishedSeq]): FinishedMember[] => {
    if (taskId === null) return [];
    const hasError = isFailed === true && value !== null;
    const stored: StoredResult = {
      taskId,
      result: isFailed === true ? "null" : (value ?? "null"),
      error: hasError ? value : null,
      storedAt: 0,
      ...(value === null ? { isTooLarge: true } : {}),
    };
    return [{ stored, finishedSeq: Number(finishedSeq ?? 0) }];
  });
  return {
    group: first && { isDone: first[0], finished: first[1] + first[2] },
    members,
    candidates: first?.[7] ?? null,
  };
}

/** The outcome of work that goes on through any outage, until nobody is subscribed any more. */
function whileSubscribed<T>(work: (signal: AbortSignal) => Promise<T>): Observable<T> {
  return new Observable((subscriber) => {
    const unsubscribed = new AbortController();
    const subscription = from(work(unsubscribed.signal)).subscribe(subscriber);
    subscription.add(() => unsubscribed.abort());
    return subscription;
  });
}
