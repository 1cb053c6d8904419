import {
  concat,
  concatMap,
  defer,
  EMPTY,
  from,
  map,
  mergeMap,
  Observable,
  type ObservableInput,
  tap,
  throwError,
} from "rxjs";
import type { StoredResult } from "../value/decoding";
import {
  countsError,
  expiredError,
  type GroupCounts,
  type GroupReads,
  type MemberKind,
  type StoredGroup,
} from "./group-reads";

/** Emits each member of a group once, as they finish. `group$` emits the group at every change, until it is done. */
export const members$ = (
  groupId: string,
  group$: Observable<StoredGroup>,
  reads: GroupReads,
): Observable<StoredResult> => defer(() => new MemberStream(groupId, group$, reads).follow$());

/**
 * Every change of the group leads to reading on from the end of the last page. Members are numbered in the order of
 * commits, so this skips none, and only the last number has to be remembered.
 */
class MemberStream {
  readonly #groupId: string;
  readonly #group$: Observable<StoredGroup>;
  readonly #reads: GroupReads;
  #latest: StoredGroup | undefined;
  #lastSeq = 0;
  #emitted = 0;

  constructor(groupId: string, group$: Observable<StoredGroup>, reads: GroupReads) {
    this.#groupId = groupId;
    this.#group$ = group$;
    this.#reads = reads;
  }

  follow$(): Observable<StoredResult> {
    return this.#group$.pipe(
      tap((group) => (this.#latest = group)),
      // Changes that come during a read lead to a single one after it.
      concatMap((group) => (group === this.#latest ? this.#readOn$(group) : EMPTY)),
    );
  }

  #readOn$(group: StoredGroup): Observable<StoredResult> {
    let counts: GroupCounts | undefined;
    const finished$ = this.#read$("finishedMembers", this.#lastSeq, (read) => (counts = read));
    const rest$ = defer(() => {
      if (!group.progress.done) return EMPTY;
      if (counts === undefined) return throwError(() => expiredError(group));
      // A group that has lost a member since is open again.
      return counts.isDone ? this.#rest$(group, counts.completed + counts.failed) : this.follow$();
    });
    return concat(finished$, rest$);
  }

  /** Emits the members that finished without a number, while triggers were disabled. */
  #rest$(group: StoredGroup, finished: number): Observable<StoredResult> {
    if (this.#emitted >= finished) return EMPTY;
    let isPresent = false;
    const unnumbered$ = this.#read$("unnumberedMembers", "", (counts) => (isPresent = counts !== undefined));
    const checked$ = defer(() => {
      if (!isPresent) return throwError(() => expiredError(group));
      if (this.#emitted >= finished) return EMPTY;
      return throwError(() => countsError(this.#groupId, this.#emitted, finished));
    });
    return concat(unnumbered$, checked$);
  }

  /** Reads pages through any outage, and notes the counts that came with each. */
  #read$(
    kind: MemberKind,
    after: string | number,
    note: (counts: GroupCounts | undefined) => void,
  ): Observable<StoredResult> {
    return whileSubscribed((signal) =>
      this.#reads.pages(kind, this.#groupId, after, { dueAt: Infinity, signals: [signal] }),
    ).pipe(
      tap(({ group }) => note(group)),
      mergeMap(({ members }) => members),
      tap(({ finishedSeq }) => {
        this.#lastSeq = Math.max(this.#lastSeq, finishedSeq);
        this.#emitted += 1;
      }),
      map(({ stored }) => stored),
    );
  }
}

/** Emits what work gives, which goes on through any outage, and aborts it when the subscription ends. */
export function whileSubscribed<T>(work: (signal: AbortSignal) => ObservableInput<T>): Observable<T> {
  return new Observable((subscriber) => {
    const unsubscribed = new AbortController();
    const subscription = from(work(unsubscribed.signal)).subscribe(subscriber);
    subscription.add(() => unsubscribed.abort());
    return subscription;
  });
}
