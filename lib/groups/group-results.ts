import { DatabaseError, GroupFailedError, ResultEncodingError } from "../errors";
import type { StoredResult } from "../value/stored-result";
import { compareBytes } from "../value/byte-order";
import { toFailedError } from "../value/failure";

/** A row of a page of members: the group as it is in the same snapshot, and a member, or nulls where no more follow. */
export type MemberPageRow = [
  isDone: boolean,
  completed: number,
  failed: number,
  taskId: string | null,
  /** Null if it is longer than may be read. */
  value: string | null,
  position: number | null,
  /** How many members there would be, if all of them had room in the page. */
  candidates: number | null,
];

type MemberKind = "results" | "failures";

/** Reads a page of the members whose ids come after one; no rows if the group is absent or has expired. */
export type ReadMemberPage = (
  kind: MemberKind,
  groupId: string,
  afterTaskId: string,
  maxRows: number,
) => Promise<readonly MemberPageRow[]>;

interface Member {
  readonly taskId: string;
  readonly value: string | null;
  readonly position: number | null;
}

interface Collected {
  readonly isDone: boolean;
  readonly completed: number;
  readonly failed: number;
  readonly members: readonly Member[];
  /** Whether the group was the same in the snapshots of all pages. */
  readonly isConstant: boolean;
}

const pageRows = 1_000;
/** Reads whose members and counts do not match before the counts are taken for wrong. */
const maxMismatches = 3;

/** The results of a group that is done; undefined if it is absent by now, or open again. Each page is one snapshot of group and members, and all of them have to agree. */
export async function resultsOfDone(
  groupId: string,
  hasFailures: boolean,
  readPage: ReadMemberPage,
): Promise<StoredResult[] | undefined> {
  let kind: MemberKind = hasFailures ? "failures" : "results";
  for (let mismatches = 0; ;) {
    const found = await collect(groupId, kind, readPage);
    if (found?.isDone !== true) return undefined;
    const { completed, failed, members, isConstant } = found;
    const rightKind: MemberKind = failed > 0 ? "failures" : "results";
    if (!isConstant || kind !== rightKind) {
      kind = rightKind;
      continue;
    }
    if (members.length === (failed > 0 ? failed : completed)) return toResults(groupId, kind, members);
    mismatches += 1;
    if (mismatches === maxMismatches) throw countsError(groupId, members.length, failed > 0 ? failed : completed);
  }
}

/** The results of the members that are completed by now, in their order; none if the group is absent. */
export async function resultsByNow(groupId: string, readPage: ReadMemberPage): Promise<StoredResult[]> {
  const found = await collect(groupId, "results", readPage);
  return found === undefined ? [] : toResults(groupId, "results", found.members);
}

/** The counts of a group are not those of its members: triggers were disabled while it was written. */
export function countsError(groupId: string, found: number, counted: number): DatabaseError {
  const message = `Group ${groupId} has ${found} finished members, and counts ${counted}: it was written while triggers were disabled. Call migrate({ recount: true }).`;
  return new DatabaseError(message, undefined, false, { origin: "statement" });
}

async function collect(groupId: string, kind: MemberKind, readPage: ReadMemberPage): Promise<Collected | undefined> {
  const members: Member[] = [];
  let first: MemberPageRow | undefined;
  let isConstant = true;
  for (let afterTaskId = "", isLast = false; !isLast;) {
    const page = await readPage(kind, groupId, afterTaskId, pageRows);
    const [row] = page;
    if (row === undefined) return undefined;
    first ??= row;
    isConstant &&= row[0] === first[0] && row[1] === first[1] && row[2] === first[2];
    for (const [, , , taskId, value, position] of page) if (taskId !== null) members.push({ taskId, value, position });
    isLast = isLastPage(page.length, row[6], pageRows);
    afterTaskId = members.at(-1)?.taskId ?? "";
  }
  if (first === undefined) return undefined;
  return { isDone: first[0], completed: first[1], failed: first[2], members, isConstant };
}

/** Whether no more follow: a page has all the members there are, and they are fewer than it may have. */
export const isLastPage = (rows: number, candidates: number | null, maxRows: number): boolean =>
  candidates === null || (rows >= candidates && candidates < maxRows);

function toResults(groupId: string, kind: MemberKind, members: readonly Member[]): StoredResult[] {
  const ordered = [...members].sort(byOrder);
  const textOf = ({ taskId, value }: Member): string => {
    if (value === null) throw ResultEncodingError.whenRead(taskId);
    return value;
  };
  if (kind === "failures")
    throw new GroupFailedError(
      groupId,
      ordered.map((member) => toFailedError(member.taskId, textOf(member))),
    );
  return ordered.map((member) => ({ taskId: member.taskId, result: textOf(member), error: null, storedAt: 0 }));
}

/** As declared; members that were not declared, by the bytes of their ids. */
const byOrder = (one: Member, other: Member): number =>
  (one.position ?? 0) - (other.position ?? 0) || compareBytes(one.taskId, other.taskId);
