import { concatMap, defer, distinctUntilChanged, filter, map, type Observable, take, takeWhile } from "rxjs";
import { GroupFailedError, WaitTimeoutError } from "../errors";
import type { StoredResult } from "../value/stored-result";
import type {
  ClaimOptions,
  GroupClaim,
  GroupOptions,
  GroupProgress,
  ReadOptions,
  TaskOutcome,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "../result-backend";
import { checkDurationMs, checkId, checkInteger, checkTtlMs, typeName } from "../value/arguments";
import { encodeFailure } from "../value/failure";
import { encodeResult } from "../value/json";
import { checkSchema } from "../value/schema";
import { toFailedError } from "../results/outcome";
import { resolveWaitOptions } from "../waiting/waits";
import type { MemoryGroup } from "./group";
import { untilDeadline } from "./group-watch";
import { refuseClient } from "./results";
import type { MemoryView } from "./view";

// The total is an int in the database.
const maxMembers = 2 ** 31 - 1;

/** Groups of tasks, in memory. */
export class MemoryGroups {
  readonly #view: MemoryView;

  constructor(view: MemoryView) {
    this.#view = view;
  }

  init(groupId: string, members: number | readonly string[], options: GroupOptions): void {
    checkId(groupId, "groupId");
    checkMembers(members);
    const { ttlMs = this.#view.ttlMs, deadlineMs = Infinity } = options;
    checkTtlMs(ttlMs, "ttlMs");
    checkTtlMs(deadlineMs, "deadlineMs");
    refuseClient(options);
    this.#view.assertOpen();
    // A copy: what the caller does to the array later is no longer about this group.
    const plan = { members: typeof members === "number" ? members : [...members], ttlMs, deadlineMs };
    this.#view.storage.changeGroup(groupId, (group) => group.init(plan));
  }

  complete(groupId: string, taskId: string, result: unknown, options: WriteOptions): number {
    checkId(groupId, "groupId");
    checkId(taskId, "taskId");
    return this.#finish(
      groupId,
      taskId,
      encodeResult(taskId, result, this.#view.maxResultBytes, this.#view.codec),
      null,
      options,
    );
  }

  fail(groupId: string, taskId: string, error: unknown, options: WriteOptions): number {
    checkId(groupId, "groupId");
    checkId(taskId, "taskId");
    return this.#finish(groupId, taskId, "null", encodeFailure(error, this.#view.maxResultBytes), options);
  }

  read(groupId: string): MemoryGroup | undefined {
    checkId(groupId, "groupId");
    this.#view.assertOpen();
    return this.#view.storage.group(groupId);
  }

  /** The results of the members that are completed by now. */
  async results<T>(groupId: string, { schema }: ReadOptions<T>): Promise<T[]> {
    checkSchema(schema);
    const group = this.read(groupId);
    return this.#view.reader.all(group === undefined ? [] : completedOf(group), schema);
  }

  async wait<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]> {
    checkId(groupId, "groupId");
    const options = resolveWaitOptions(timeout);
    const { reader } = this.#view;
    const stored = this.#view.first(this.#completed$(groupId), options, () =>
      WaitTimeoutError.forGroup(groupId, options.timeoutMs, this.#view.storage.group(groupId)?.progress()),
    );
    if (options.schema === undefined) return (await stored).map((each) => reader.value<T>(each));
    return reader.checkAll(stored, options.schema, { target: { groupId }, ...options });
  }

  progress$(groupId: string): Observable<GroupProgress> {
    return this.#watch$(groupId).pipe(
      map((group) => group.progress()),
      distinctUntilChanged(isSameProgress),
      takeWhile(({ done }) => !done, true),
    );
  }

  members$<T>(groupId: string, { schema }: ReadOptions<T>): Observable<TaskOutcome<T>> {
    checkSchema(schema);
    const group$ = this.#watch$(groupId).pipe(takeWhile(({ isDone }) => !isDone, true));
    const stored$ = defer(() => {
      let emitted = 0;
      return group$.pipe(
        concatMap((group) => {
          const finished = group.finishedFrom(emitted);
          emitted += finished.length;
          return finished;
        }),
      );
    });
    return this.#view.reader.outcomes$(stored$, schema);
  }

  results$<T>(groupId: string, { schema }: ReadOptions<T>): Observable<T[]> {
    checkSchema(schema);
    return this.#view.reader.all$(this.#completed$(groupId), schema);
  }

  claim(groupId: string, options: ClaimOptions): GroupClaim | undefined {
    checkId(groupId, "groupId");
    const { leaseMs } = options;
    if (leaseMs !== undefined) checkDurationMs(leaseMs, "leaseMs", { min: 1 });
    refuseClient(options);
    this.#view.assertOpen();
    const hold = this.#view.storage.group(groupId)?.claim(leaseMs ?? Infinity);
    if (hold === undefined) return undefined;
    // eslint-disable-next-line @typescript-eslint/require-await -- what it throws has to be a rejection
    const ack = async (): Promise<boolean> => {
      this.#view.assertOpen();
      if (leaseMs === undefined) return true;
      return this.#view.storage.group(groupId)?.keep(hold) ?? false;
    };
    return { groupId, ack };
  }

  unclaimed({ limit = 100 }: UnclaimedOptions): GroupProgress[] {
    checkInteger(limit, "limit", 1, 10_000);
    this.#view.assertOpen();
    const unclaimed = this.#view.storage.doneGroups().filter(({ isClaimed }) => !isClaimed);
    return unclaimed.slice(0, limit).map((group) => group.progress());
  }

  /** The results of a group once it is done. */
  #completed$(groupId: string): Observable<StoredResult[]> {
    return this.#watch$(groupId).pipe(
      filter(({ isDone }) => isDone),
      take(1),
      map((group) => {
        assertNoFailures(group);
        return completedOf(group);
      }),
    );
  }

  #finish(groupId: string, taskId: string, result: string, error: string | null, options: WriteOptions): number {
    refuseClient(options);
    this.#view.assertOpen();
    const outcome = { taskId, result, error, storedAt: Date.now() * 1_000 };
    return this.#view.storage.changeGroup(groupId, (group) => group.finish(outcome));
  }

  #watch$(groupId: string): Observable<MemoryGroup> {
    checkId(groupId, "groupId");
    return untilDeadline(this.#view.groups.watch$(groupId), this.#view.deadlines);
  }
}

const completedOf = (group: MemoryGroup): StoredResult[] => group.outcomes().filter(({ error }) => error === null);

function assertNoFailures(group: MemoryGroup): void {
  const failures = group
    .outcomes()
    .flatMap(({ taskId, error }) => (error === null ? [] : [toFailedError(taskId, error)]));
  if (failures.length > 0) throw new GroupFailedError(group.groupId, failures);
}

function isSameProgress(one: GroupProgress, other: GroupProgress): boolean {
  return one.total === other.total && one.completed === other.completed && one.failed === other.failed;
}

function checkMembers(members: unknown): asserts members is number | readonly string[] {
  if (typeof members === "number") {
    checkInteger(members, "members", 0, maxMembers);
    return;
  }
  if (!Array.isArray(members))
    throw new TypeError(`members: expected a number, or an array of task ids, got ${typeName(members)}.`);
  const seen = new Set<unknown>();
  for (const taskId of members as unknown[]) {
    checkId(taskId, "taskId");
    if (seen.has(taskId)) throw new RangeError(`members: expected each id once, got ${taskId} twice.`);
    seen.add(taskId);
  }
}
