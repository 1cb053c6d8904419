import { mayPass } from "../database/backend-error";
import { isTransient, retryUntilAborted } from "../database/retry";
import { DatabaseError, ResultEncodingError, WaitTimeoutError } from "../errors";
import type { GroupProgress } from "../result-backend";
import { compareBytes } from "../value/arguments";
import type { StoredResult } from "../value/decoding";
import type { SourceContext } from "../waiting/keyed-source";
import type { ReadAnswer } from "../waiting/read-attempts";
import { resultsOrFailures } from "./group-rules";
import type { GroupStatements } from "./group-statements";

/** A group as it is stored. */
export interface StoredGroup {
  readonly progress: GroupProgress;
  /** The transaction in which it was done; 0 while it is open, and if that was not recorded. */
  readonly doneXid: number;
  /** The deadline it was given; null if none. */
  readonly deadlineMs: number | null;
  /** The time left until it expires; null if it never does. */
  readonly leftMs: number | null;
  /** The time until it is done unless the Rust crate adds placeholders; null if it is done or lacks members. */
  readonly settlesMs: number | null;
  /** Set if a placeholder came after a member had finished: more of them are to be expected. */
  readonly isDeclaredLate: boolean;
}

type GroupRow = [
  groupId: string,
  total: number | null,
  completed: number,
  failed: number,
  doneAt: string | null,
  deadlineMs: string | null,
  leftMs: string | null,
  isOld: boolean,
  doneXid: string | null,
  settlesMs: string | null,
  isDeclaredLate: boolean,
];

type ProgressRow = [groupId: string, total: number | null, completed: number, failed: number];

type MemberRow = [
  isDone: boolean,
  completed: number,
  failed: number,
  taskId: string | null,
  value: string | null,
  isFailed: boolean | null,
  position: number | null,
  finishedSeq: string | null,
  candidates: number | null,
];

export type MemberKind = Extract<keyof GroupStatements, `${string}Members`>;

/** A finished member. */
interface Member {
  readonly stored: StoredResult;
  /** Its place among the declared members, or 0. */
  readonly position: number;
  /** Its place in the order in which members finished, or 0. */
  readonly finishedSeq: number;
}

/** The part of a group that is read with each page of its members. */
export interface GroupCounts {
  readonly isDone: boolean;
  readonly completed: number;
  readonly failed: number;
}

export interface MemberPage {
  /** The group in the same snapshot; undefined if it is absent. */
  readonly group: GroupCounts | undefined;
  readonly members: readonly Member[];
}

/** Limits of a read that goes on through any outage. */
export interface ReadLimits {
  /** On the clock of `performance.now()`. */
  readonly dueAt: number;
  readonly signals: readonly AbortSignal[];
}

const pageRows = 1_000;
/** Number of reads whose members and counts differ before the counts are taken for wrong. */
const maxMismatches = 3;

/** Reads groups and their members. */
export class GroupReads {
  readonly #parts: SourceContext;
  readonly #statements: GroupStatements;

  constructor(parts: SourceContext, statements: GroupStatements) {
    this.#parts = parts;
    this.#statements = statements;
  }

  /** Reads groups once. `limitMs`: the time after which the server itself ends the read. */
  async groups(groupIds: readonly string[], timeoutMs: number, limitMs?: number): Promise<ReadAnswer<StoredGroup>> {
    const query = { purpose: "read groups", text: this.#statements.read, values: [groupIds] };
    const { database } = this.#parts;
    const rows = await (limitMs === undefined
      ? database.query<GroupRow>(query, timeoutMs)
      : database.queryLimited<GroupRow>(query, limitMs, timeoutMs));
    return { found: new Map(rows.map((row) => [row[0], { value: toStoredGroup(row), isOld: row[7] }])) };
  }

  /** Reads groups that are not done, by id. */
  async open(limit: number): Promise<GroupProgress[]> {
    return this.#progress("read open groups", this.#statements.open, limit, false);
  }

  /** Reads done groups that are free to be claimed, longest done first. */
  async unclaimed(limit: number): Promise<GroupProgress[]> {
    return this.#progress("read unclaimed groups", this.#statements.unclaimed, limit, true);
  }

  /** Reads the results of the members that are completed by now, in their order. */
  async completed(groupId: string): Promise<readonly StoredResult[]> {
    return (await this.#allMembers("completedMembers", groupId)).members;
  }

  /** Reads the results of a done group, in their order; undefined if it is absent or open again. */
  async resultsOfDone(
    { progress: { groupId, failed } }: StoredGroup,
    limits: ReadLimits,
  ): Promise<readonly StoredResult[] | undefined> {
    let hasFailures = failed > 0;
    for (let mismatches = 0; ;) {
      const kind = hasFailures ? "failedMembers" : "completedMembers";
      const { group, members, isConstant } = await this.#allMembers(kind, groupId, limits);
      if (group?.isDone !== true) return undefined;
      const isRightKind = hasFailures === group.failed > 0;
      hasFailures = group.failed > 0;
      if (!isConstant || !isRightKind) continue;
      const counted = hasFailures ? group.failed : group.completed;
      if (members.length === counted) return resultsOf(groupId, members);
      mismatches += 1;
      if (mismatches === maxMismatches) throw countsError(groupId, members.length, counted);
    }
  }

  /** Reads pages of members that come after a place, until none are left. Each page is a snapshot of its own. */
  async *pages(
    kind: MemberKind,
    groupId: string,
    from: string | number,
    limits?: ReadLimits,
  ): AsyncGenerator<MemberPage> {
    for (let after: string | number = from; ;) {
      const values = [groupId, after, pageRows];
      const rows = await this.#query<MemberRow>("read group members", this.#statements[kind], values, limits);
      const page = toMemberPage(rows);
      yield page;
      const last = page.members.at(-1);
      // Fewer members than there are: the others had no room in the page.
      const candidates = rows[0]?.[8] ?? 0;
      if (last === undefined || (page.members.length >= candidates && candidates < pageRows)) return;
      after = kind === "finishedMembers" ? last.finishedSeq : last.stored.taskId;
    }
  }

  async #allMembers(kind: MemberKind, groupId: string, limits?: ReadLimits): Promise<CollectedMembers> {
    const members: Member[] = [];
    let group: GroupCounts | undefined;
    let isConstant = true;
    for await (const page of this.pages(kind, groupId, "", limits)) {
      if (page.group === undefined) return { group: undefined, members: [], isConstant };
      isConstant &&= group === undefined || isSame(group, page.group);
      group ??= page.group;
      members.push(...page.members);
    }
    return { group, members: members.sort(byPosition).map(({ stored }) => stored), isConstant };
  }

  async #progress(purpose: string, text: string, limit: number, done: boolean): Promise<GroupProgress[]> {
    const rows = await this.#query<ProgressRow>(purpose, text, [limit]);
    return rows.map(([groupId, total, completed, failed]) => ({ groupId, total, completed, failed, done }));
  }

  async #query<Row extends unknown[]>(
    purpose: string,
    text: string,
    values: unknown[],
    limits?: ReadLimits,
  ): Promise<Row[]> {
    const { database, options, closed, schemaCheck } = this.#parts;
    const attempt = async (attemptMs: number): Promise<Row[]> => {
      await schemaCheck.pass(attemptMs);
      return database.query<Row>({ purpose, text, values, isPaced: true }, attemptMs);
    };
    return retryUntilAborted(attempt, {
      dueAt: limits?.dueAt ?? performance.now() + options.retryTimeoutMs,
      attemptMs: options.retryTimeoutMs / 2,
      signals: [closed, ...(limits?.signals ?? [])],
      // A call rejects with what a policy raises; a wait or a stream goes on.
      isPassing: limits === undefined ? isTransient : mayPass,
    });
  }
}

interface CollectedMembers {
  readonly group: GroupCounts | undefined;
  readonly members: readonly StoredResult[];
  /** Set if all pages had the same counts. */
  readonly isConstant: boolean;
}

function toStoredGroup(row: GroupRow): StoredGroup {
  const [groupId, total, completed, failed, doneAt, deadlineMs, leftMs, , doneXid, settlesMs, isDeclaredLate] = row;
  return {
    progress: { groupId, total, completed, failed, done: doneAt !== null },
    doneXid: Number(doneXid ?? 0),
    deadlineMs: deadlineMs === null ? null : Number(deadlineMs),
    leftMs: leftMs === null ? null : Number(leftMs),
    settlesMs: settlesMs === null ? null : Number(settlesMs),
    isDeclaredLate,
  };
}

function toMemberPage(rows: readonly MemberRow[]): MemberPage {
  const [first] = rows;
  const members = rows.flatMap(([, , , taskId, value, isFailed, position, finishedSeq]): Member[] => {
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
  return { group: first && { isDone: first[0], completed: first[1], failed: first[2] }, members };
}

const isSame = (one: GroupCounts, other: GroupCounts): boolean =>
  one.isDone === other.isDone && one.completed === other.completed && one.failed === other.failed;

/** In declared order; members that were not declared by the bytes of their ids. */
const byPosition = (one: Member, other: Member): number =>
  one.position - other.position || compareBytes(one.stored.taskId, other.stored.taskId);

function resultsOf(groupId: string, members: readonly StoredResult[]): readonly StoredResult[] {
  const tooLarge = members.find(({ isTooLarge }) => isTooLarge);
  if (tooLarge !== undefined) throw ResultEncodingError.whenRead(tooLarge.taskId);
  return resultsOrFailures(groupId, members);
}

/** Creates the error for a group that was open, or done, and has expired. */
export const expiredError = ({ progress, deadlineMs }: StoredGroup): WaitTimeoutError =>
  WaitTimeoutError.forGroup(progress.groupId, deadlineMs ?? 0, progress);

/** Creates the error for a group whose counts are not those of its members. */
export function countsError(groupId: string, found: number, counted: number): DatabaseError {
  const message =
    `Group ${groupId} has ${found} finished members but counts ${counted}: ` +
    "it was written while triggers were disabled. Call migrate({ recount: true }).";
  return new DatabaseError(message, undefined, false, { origin: "statement" });
}
