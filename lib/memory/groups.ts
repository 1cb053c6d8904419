import { concatMap, defer, distinctUntilChanged, filter, map, Observable, of, switchMap, throwError } from "rxjs";
import { WaitTimeoutError } from "../errors";
import { isSameProgress, resultsOrFailures } from "../groups/group-rules";
import type { GroupProgress } from "../result-backend";
import type { StoredResult } from "../value/decoding";
import type { Deadlines } from "../waiting/deadlines";
import type { WaitLimits } from "../waiting/waits";
import type { MemoryGroup } from "./group";
import type { MemoryStorage } from "./storage";
import { MemoryWaits } from "./waits";

/** Waits for groups in memory. */
export class MemoryGroups extends MemoryWaits<MemoryGroup> {
  readonly #deadlines: Deadlines;

  constructor(deadlines: Deadlines, storage: MemoryStorage) {
    super({
      deadlines,
      changes$: storage.groupChanged$,
      keyOf: ({ groupId }) => groupId,
      read: (groupId) => storage.group(groupId),
      isAnswer: ({ isDone }) => isDone,
      timeoutError: (groupId, timeoutMs, latest) => WaitTimeoutError.forGroup(groupId, timeoutMs, latest?.progress),
    });
    this.#deadlines = deadlines;
  }

  /** Emits a group, now and at every change, and completes when it is done. Errors when its deadline passes. */
  override watch$(groupId: string, limits?: WaitLimits): Observable<MemoryGroup> {
    return defer(() => {
      let watched: MemoryGroup | undefined;
      return super.watch$(groupId, limits).pipe(
        switchMap((group) => {
          const former = watched ?? group;
          watched = group;
          // A new group has taken the id: of one that was deleted, or that has expired before its timer fired.
          if (group !== former && former.expiresAt <= Date.now()) return throwError(() => expiredError(former));
          return group.isDone ? of(group) : this.#untilExpired$(group);
        }),
      );
    });
  }

  progress$(groupId: string): Observable<GroupProgress> {
    return this.watch$(groupId).pipe(
      map(({ progress }) => progress),
      distinctUntilChanged(isSameProgress),
    );
  }

  /**
   * Emits the outcome of each member once, in the order in which they finish. After a deleted group it emits the
   * members of the next group of this id.
   */
  members$(groupId: string): Observable<StoredResult> {
    return defer(() => {
      /** Number of emitted members of each group that has had this id. */
      const emitted = new WeakMap<MemoryGroup, number>();
      return this.watch$(groupId).pipe(
        concatMap((group) => {
          const from = emitted.get(group) ?? 0;
          const finished = group.finishedFrom(from);
          emitted.set(group, from + finished.length);
          return finished;
        }),
      );
    });
  }

  /** Emits the results of a group once it is done. */
  results$(groupId: string, limits?: WaitLimits): Observable<readonly StoredResult[]> {
    return this.watch$(groupId, limits).pipe(
      filter(({ isDone }) => isDone),
      map((group) => resultsOrFailures(groupId, group.outcomes())),
    );
  }

  #untilExpired$(group: MemoryGroup): Observable<MemoryGroup> {
    return new Observable((subscriber) => {
      const expire = (): void => subscriber.error(expiredError(group));
      const deadline = { dueAt: group.expiresAt, heapIndex: -1, expire };
      this.#deadlines.add(deadline);
      subscriber.next(group);
      return () => this.#deadlines.remove(deadline);
    });
  }
}

const expiredError = ({ groupId, deadlineMs, progress }: MemoryGroup): WaitTimeoutError =>
  WaitTimeoutError.forGroup(groupId, deadlineMs, progress);
