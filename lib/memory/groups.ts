import {
  concatMap,
  defer,
  distinctUntilChanged,
  filter,
  firstValueFrom,
  map,
  Observable,
  of,
  switchMap,
  throwError,
} from "rxjs";
import { WaitTimeoutError } from "../errors";
import { checkMember, isSameProgress, resultsOrFailures, toGroupLimit, toGroupSize } from "../groups/group-rules";
import type {
  ClaimOptions,
  GroupClaim,
  GroupOptions,
  GroupProgress,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "../result-backend";
import { checkDurationMs, checkId } from "../value/arguments";
import { encodeFailure } from "../value/failure";
import { encodeResult } from "../value/encoding";
import type { StoredResult } from "../value/decoding";
import type { Deadline } from "../waiting/deadlines";
import type { WaitLimits } from "../waiting/waits";
import type { MemoryGroup } from "./group";
import type { MemoryView } from "./view";

/** Groups of tasks, in memory. */
export class MemoryGroups {
  readonly #view: MemoryView;

  constructor(view: MemoryView) {
    this.#view = view;
  }

  init(groupId: string, members: number | readonly string[], options: GroupOptions): void {
    checkId(groupId, "groupId");
    const size = toGroupSize(members, options, this.#view.options.ttlMs);
    this.#view.assertWritable(options);
    this.#view.storage.changeGroup(groupId, (group) => group.init(size));
  }

  complete(groupId: string, taskId: string, result: unknown, options: WriteOptions): number {
    checkMember(groupId, taskId);
    const { maxResultBytes, codec } = this.#view.options;
    return this.#finish(groupId, taskId, encodeResult(taskId, result, maxResultBytes, codec), null, options);
  }

  fail(groupId: string, taskId: string, error: unknown, options: WriteOptions): number {
    checkMember(groupId, taskId);
    const failure = encodeFailure(error, this.#view.options.maxResultBytes);
    return this.#finish(groupId, taskId, "null", failure, options);
  }

  find(groupId: string): MemoryGroup | undefined {
    checkId(groupId, "groupId");
    this.#view.assertOpen();
    return this.#view.storage.group(groupId);
  }

  /** Gives the results of the members that are completed by now. */
  results(groupId: string): StoredResult[] {
    return (
      this.find(groupId)
        ?.outcomes()
        .filter(({ error }) => error === null) ?? []
    );
  }

  progress$(groupId: string): Observable<GroupProgress> {
    return this.#watch$(groupId).pipe(
      map(({ progress }) => progress),
      distinctUntilChanged(isSameProgress),
    );
  }

  /** Emits the outcome of each member once, in the order in which they finish. */
  members$(groupId: string): Observable<StoredResult> {
    const group$ = this.#watch$(groupId);
    return defer(() => {
      let emitted = 0;
      return group$.pipe(
        concatMap((group) => {
          const finished = group.finishedFrom(emitted);
          emitted += finished.length;
          return finished;
        }),
      );
    });
  }

  async wait(groupId: string, options: WaitOptions): Promise<readonly StoredResult[]> {
    this.#view.assertOpen();
    return firstValueFrom(this.results$(groupId, options));
  }

  /** Emits the results of a group once it is done. */
  results$(groupId: string, limits?: WaitLimits): Observable<readonly StoredResult[]> {
    return this.#watch$(groupId, limits).pipe(
      filter(({ isDone }) => isDone),
      map((group) => resultsOrFailures(groupId, group.outcomes())),
    );
  }

  claim(groupId: string, options: ClaimOptions): GroupClaim | undefined {
    checkId(groupId, "groupId");
    const { leaseMs } = options;
    if (leaseMs !== undefined) checkDurationMs(leaseMs, "leaseMs", { min: 1 });
    this.#view.assertWritable(options);
    const lease = this.#view.storage.group(groupId)?.claim(leaseMs ?? Infinity);
    if (lease === undefined) return undefined;
    // eslint-disable-next-line @typescript-eslint/require-await -- async turns what it throws into a rejection
    const ack = async (): Promise<boolean> => {
      this.#view.assertOpen();
      if (leaseMs === undefined) return true;
      return this.#view.storage.group(groupId)?.keep(lease) ?? false;
    };
    return { groupId, ack };
  }

  unclaimed(options: UnclaimedOptions): GroupProgress[] {
    const limit = toGroupLimit(options);
    this.#view.assertOpen();
    const unclaimed = this.#view.storage.doneGroups().filter(({ isClaimed }) => !isClaimed);
    return unclaimed.slice(0, limit).map(({ progress }) => progress);
  }

  #finish(groupId: string, taskId: string, result: string, error: string | null, options: WriteOptions): number {
    this.#view.assertWritable(options);
    const outcome = { taskId, result, error, storedAt: Date.now() * 1_000 };
    return this.#view.storage.changeGroup(groupId, (group) => group.finish(outcome));
  }

  /** Emits a group, now and at every change, and completes when it is done. Errors when its deadline passes. */
  #watch$(groupId: string, limits?: WaitLimits): Observable<MemoryGroup> {
    checkId(groupId, "groupId");
    return defer(() => {
      let first: MemoryGroup | undefined;
      return this.#view.groups.watch$(groupId, limits).pipe(
        switchMap((group) => {
          const watched = (first ??= group);
          // A new group has taken the id before the timer of the expired one fired.
          if (group !== watched) return throwError(() => expiredError(watched));
          return group.isDone ? of(group) : this.#untilExpired$(group);
        }),
      );
    });
  }

  /** Emits a group, and errors when its deadline passes. */
  #untilExpired$(group: MemoryGroup): Observable<MemoryGroup> {
    return new Observable((subscriber) => {
      const { deadlines } = this.#view;
      const deadline: Deadline = {
        dueAt: group.expiresAt,
        heapIndex: -1,
        expire: () => subscriber.error(expiredError(group)),
      };
      deadlines.add(deadline);
      subscriber.next(group);
      return () => deadlines.remove(deadline);
    });
  }
}

const expiredError = ({ groupId, deadlineMs, progress }: MemoryGroup): WaitTimeoutError =>
  WaitTimeoutError.forGroup(groupId, deadlineMs, progress);
