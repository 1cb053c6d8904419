import { concat, concatMap, defer, EMPTY, from, map, mergeMap, Observable, type ObservableInput, tap } from "rxjs";
import { mayPass } from "../database/backend-error";
import { isTransient, retryUntilAborted } from "../database/retry";
import { DatabaseError, ResultEncodingError, WaitTimeoutError } from "../errors";
import type { GroupProgress } from "../result-backend";
import { compareBytes } from "../value/arguments";
import type { StoredResult } from "../value/decoding";
import type { SourceContext } from "../waiting/keyed-source";
import type { ReadAnswer } from "../waiting/read-attempts";
import { isSameProgress, resultsOrFailures } from "./group-rules";
import {
  type GroupRow,
  type GroupStatements,
  groupStatements,
  type MemberRow,
  type ProgressRow,
} from "./group-statements";

/** A group as it is stored. */
export interface StoredGroup {
  readonly progress: GroupProgress;
  /** Transaction that completed it; 0 while it is open, or if none was recorded. */
  readonly doneXid: number;
  /** Its deadline; null if it has none. */
  readonly deadlineMs: number | null;
  /** The time left until it expires; null if it never does. */
  readonly leftMs: number | null;
  /** Time until it is done, unless the Rust crate adds placeholders; null if it is done or lacks members. */
  readonly settlesMs: number | null;
  /** Set if a placeholder arrived after a member had finished, so that more placeholders are likely. */
  readonly isDeclaredLate: boolean;
}

type MemberKind = Extract<keyof GroupStatements, `${string}Members`>;

/** A finished member. */
interface Member {
  readonly stored: StoredResult;
  /** Its place among the declared members, or 0. */
  readonly position: number;
  /** Its place in the order in which members finished, or 0. */
  readonly finishedSeq: number;
}

interface MemberPage {
  /** The group in the same snapshot; undefined if it is absent. */
  readonly group: GroupProgress | undefined;
  readonly members: readonly Member[];
}

/** Limits of a read that is retried through any outage. */
interface ReadLimits {
  /** On the clock of `performance.now()`. */
  readonly dueAt: number;
  readonly signals: readonly AbortSignal[];
}

const pageRows = 1_000;
/** Number of reads with different members and counts after which the counts are considered wrong. */
const maxMismatches = 3;

/** Reads groups and their members. */
export class GroupReads {
  readonly #context: SourceContext;
  readonly #statements: GroupStatements;

  constructor(context: SourceContext) {
    this.#context = context;
    this.#statements = groupStatements(context.options);
  }

  /** Reads groups once. `limitMs`: the time after which the server itself ends the read. */
  async groups(groupIds: readonly string[], timeoutMs: number, limitMs?: number): Promise<ReadAnswer<StoredGroup>> {
    const query = { purpose: "read groups", text: this.#statements.read, values: [groupIds] };
    const rows = await this.#context.database.query<GroupRow>(query, timeoutMs, limitMs);
    return { found: new Map(rows.map((row) => [row[0], { value: toStoredGroup(row), isOld: row[7] }])) };
  }

  /** Reads groups that are not done, by id. */
  async open(limit: number): Promise<GroupProgress[]> {
    return (await this.#query<ProgressRow>("read open groups", this.#statements.open, [limit])).map(toProgress);
  }

  /** Reads done groups that are free to be claimed, longest done first. */
  async unclaimed(limit: number): Promise<GroupProgress[]> {
    return (await this.#query<ProgressRow>("read unclaimed groups", this.#statements.unclaimed, [limit])).map(
      toProgress,
    );
  }

  /** Reads the results of the completed members, in their order. */
  async completed(groupId: string): Promise<readonly StoredResult[]> {
    const pages = await this.#allPages("completedMembers", groupId);
    // A group that expires between two pages is absent.
    return pages.at(-1)?.group === undefined ? [] : inOrder(pages);
  }

  /**
   * Reads the results of a done group, in their order. If it is absent or open again, only returns its current state as
   * `group`. If members failed, reads only their failures.
   */
  async ofDone(
    { progress }: StoredGroup,
    limits: ReadLimits,
  ): Promise<{ readonly group: GroupProgress | undefined; readonly results?: readonly StoredResult[] }> {
    const { groupId } = progress;
    let expected = progress;
    for (let mismatches = 0; ;) {
      const kind = expected.failed > 0 ? "failedMembers" : "completedMembers";
      const pages = await this.#allPages(kind, groupId, limits);
      const group = pages.at(-1)?.group;
      if (group?.done !== true) return { group };
      const isConstant = pages.every((page) => page.group !== undefined && isSameProgress(page.group, expected));
      expected = group;
      if (!isConstant) continue;
      const members = inOrder(pages);
      const counted = group.failed > 0 ? group.failed : group.completed;
      if (members.length === counted) return { group, results: resultsOf(groupId, members) };
      mismatches += 1;
      if (mismatches === maxMismatches) throw countsError(groupId, members.length, counted);
    }
  }

  /**
   * Emits each member of a group once, in the order in which they finish. `group$` emits the group at every change
   * until it is done.
   */
  members$(groupId: string, group$: Observable<StoredGroup>): Observable<StoredResult> {
    return defer(() => new MemberStream(groupId, group$, this).follow$());
  }

  async #allPages(kind: MemberKind, groupId: string, limits?: ReadLimits): Promise<MemberPage[]> {
    const pages: MemberPage[] = [];
    for await (const page of this.pages(kind, groupId, "", limits)) pages.push(page);
    return pages;
  }

  /** Reads the members after a place, page by page. Each page is a separate snapshot. */
  async *pages(
    kind: MemberKind,
    groupId: string,
    from: string | number,
    limits?: ReadLimits,
  ): AsyncGenerator<MemberPage> {
    for (let after: string | number = from; ;) {
      const values = [groupId, after, pageRows];
      const rows = await this.#query<MemberRow>("read group members", this.#statements[kind], values, limits);
      const page = toMemberPage(groupId, rows);
      yield page;
      const last = page.members.at(-1);
      // Not all members fit into the page.
      const candidates = rows[0]?.[9] ?? 0;
      if (last === undefined || (page.members.length >= candidates && candidates < pageRows)) return;
      after = kind === "finishedMembers" ? last.finishedSeq : last.stored.taskId;
    }
  }

  async #query<Row extends unknown[]>(
    purpose: string,
    text: string,
    values: unknown[],
    limits?: ReadLimits,
  ): Promise<Row[]> {
    const { database, options, closed, schemaCheck } = this.#context;
    const attempt = async (attemptMs: number): Promise<Row[]> => {
      await schemaCheck.pass(attemptMs);
      return database.query<Row>({ purpose, text, values, isPaced: true }, attemptMs);
    };
    return retryUntilAborted(attempt, {
      dueAt: limits?.dueAt ?? performance.now() + options.retryTimeoutMs,
      attemptMs: options.retryTimeoutMs / 2,
      signals: [closed, ...(limits?.signals ?? [])],
      // If a policy raises an error, a call rejects with it, but a wait or a stream continues.
      isPassing: limits === undefined ? isTransient : mayPass,
    });
  }
}

/**
 * At every change of the group, reads on from the end of the last page. Members are numbered in commit order, so this
 * skips none and only needs to remember the last number.
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
      // Changes during a read lead to one more read after it.
      concatMap((group) => (group === this.#latest ? this.#readOn$(group) : EMPTY)),
    );
  }

  #readOn$(group: StoredGroup): Observable<StoredResult> {
    let progress: GroupProgress | undefined;
    const finished$ = whileSubscribed((signal) =>
      this.#reads.pages("finishedMembers", this.#groupId, this.#lastSeq, { dueAt: Infinity, signals: [signal] }),
    ).pipe(
      tap((page) => (progress = page.group)),
      mergeMap(({ members }) => members),
      tap(({ finishedSeq }) => {
        this.#lastSeq = Math.max(this.#lastSeq, finishedSeq);
        this.#emitted += 1;
      }),
      map(({ stored }) => stored),
    );
    return concat(
      finished$,
      defer(() => (group.progress.done ? this.#end$(group, progress) : EMPTY)),
    );
  }

  /** Ends the stream of a done group, unless it has lost a member meanwhile and is open again. */
  #end$(group: StoredGroup, progress: GroupProgress | undefined): Observable<StoredResult> {
    if (progress === undefined) throw expiredError(group);
    if (!progress.done) return this.follow$();
    const finished = progress.completed + progress.failed;
    if (this.#emitted < finished) throw countsError(this.#groupId, this.#emitted, finished);
    return EMPTY;
  }
}

/** Emits the result of `work`, and aborts it when the subscription ends. */
export function whileSubscribed<T>(work: (signal: AbortSignal) => ObservableInput<T>): Observable<T> {
  return new Observable((subscriber) => {
    const unsubscribed = new AbortController();
    const subscription = from(work(unsubscribed.signal)).subscribe(subscriber);
    subscription.add(() => unsubscribed.abort());
    return subscription;
  });
}

const toProgress = ([groupId, total, completed, failed, done]: readonly [
  ...ProgressRow,
  ...unknown[],
]): GroupProgress => ({
  groupId,
  total,
  completed,
  failed,
  done,
});

function toStoredGroup(row: GroupRow): StoredGroup {
  const [, , , , , deadlineMs, leftMs, , doneXid, settlesMs, isDeclaredLate] = row;
  return {
    progress: toProgress(row),
    doneXid: Number(doneXid ?? 0),
    deadlineMs: deadlineMs === null ? null : Number(deadlineMs),
    leftMs: leftMs === null ? null : Number(leftMs),
    settlesMs: settlesMs === null ? null : Number(settlesMs),
    isDeclaredLate,
  };
}

function toMemberPage(groupId: string, rows: readonly MemberRow[]): MemberPage {
  const [first] = rows;
  const members = rows.flatMap(([, , , , taskId, value, isFailed, position, finishedSeq]): Member[] => {
    if (taskId === null) return [];
    const stored: StoredResult = {
      taskId,
      result: isFailed === true ? "null" : (value ?? "null"),
      error: isFailed === true ? value : null,
      storedAt: 0,
      ...(value === null ? { isTooLarge: true } : {}),
    };
    return [{ stored, position: position ?? 0, finishedSeq: Number(finishedSeq ?? 0) }];
  });
  return { group: first && toProgress([groupId, ...first]), members };
}

/** In declared order; members that were not declared by the bytes of their ids. */
function inOrder(pages: readonly MemberPage[]): StoredResult[] {
  const members = pages.flatMap((page) => page.members);
  const byPosition = (one: Member, other: Member): number =>
    one.position - other.position || compareBytes(one.stored.taskId, other.stored.taskId);
  return members.sort(byPosition).map(({ stored }) => stored);
}

function resultsOf(groupId: string, members: readonly StoredResult[]): readonly StoredResult[] {
  const tooLarge = members.find(({ isTooLarge }) => isTooLarge);
  if (tooLarge !== undefined) throw ResultEncodingError.whenRead(tooLarge.taskId);
  return resultsOrFailures(groupId, members);
}

/** Creates the error for a group that has expired. */
export const expiredError = ({ progress, deadlineMs }: StoredGroup): WaitTimeoutError =>
  WaitTimeoutError.forGroup(progress.groupId, deadlineMs ?? 0, progress);

/** Creates the error for a group whose counts are not those of its members. */
function countsError(groupId: string, found: number, counted: number): DatabaseError {
  const message =
    `Group ${groupId} has ${found} finished members but counts ${counted}: ` +
    "it was written while triggers were disabled. Call migrate({ recount: true }).";
  return new DatabaseError(message, undefined, false, { origin: "statement" });
}
