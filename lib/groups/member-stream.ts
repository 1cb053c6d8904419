import { Observable, Subscription } from "rxjs";
import { WaitTimeoutError } from "../errors";
import type { StoredResult } from "../value/stored-result";
import { countsError, isLastPage } from "./group-results";
import type { StoredGroup } from "./stored-group";

/** A member that finished, and its place in the order in which members did. */
export interface FinishedMember {
  readonly stored: StoredResult;
  readonly finishedSeq: number;
}

/** A page of members, with their group as it is in the same snapshot; undefined if the group is absent or has expired. */
export interface MemberPage {
  readonly group: { readonly isDone: boolean; readonly finished: number } | undefined;
  readonly members: readonly FinishedMember[];
  /** How many members there would be, if all of them had room in the page. */
  readonly candidates: number | null;
}

export interface MemberReader {
  /** A page of the members that finished after a given one, in that order. It goes on through any outage, until the signal aborts. */
  readonly readFinished: (afterSeq: number, limit: number, signal: AbortSignal) => Promise<MemberPage>;
  /** Members that finished without a number: only while triggers are disabled. */
  readonly readUnnumbered: (afterTaskId: string, limit: number, signal: AbortSignal) => Promise<MemberPage>;
}

const pageRows = 500;

/**
 * The members of a group as they finish, each once. Every change of the group, and every re-read of it, leads to reading on from where the last page ended; the
 * order of finishing is that of the commits, so nothing is skipped, and nothing has to be remembered but a number.
 */
export function members$(
  groupId: string,
  group$: Observable<StoredGroup>,
  reader: MemberReader,
): Observable<StoredResult> {
  return new Observable((subscriber) => {
    let lastSeq = 0;
    let emitted = 0;
    let latest: StoredGroup | undefined;
    let isReading = false;
    let subscription = Subscription.EMPTY;
    const unsubscribed = new AbortController();

    const emit = (page: readonly FinishedMember[]): void => {
      for (const { stored, finishedSeq } of page) {
        lastSeq = Math.max(lastSeq, finishedSeq);
        emitted += 1;
        subscriber.next(stored);
      }
    };
    const readPages = async (): Promise<MemberPage["group"]> => {
      for (;;) {
        const { group, members, candidates } = await reader.readFinished(lastSeq, pageRows, unsubscribed.signal);
        emit(members);
        if (isLastPage(members.length, candidates, pageRows) || subscriber.closed) return group;
      }
    };
    const finish = async (finished: number, absent: StoredGroup): Promise<void> => {
      for (let afterTaskId = "", isLast = false; emitted < finished && !isLast && !subscriber.closed;) {
        const page = await reader.readUnnumbered(afterTaskId, pageRows, unsubscribed.signal);
        if (page.group === undefined) throw expiredError(absent);
        emit(page.members);
        isLast = isLastPage(page.members.length, page.candidates, pageRows);
        afterTaskId = page.members.at(-1)?.stored.taskId ?? "";
      }
      if (emitted < finished) throw countsError(groupId, emitted, finished);
      subscriber.complete();
    };
    const readOn = async (): Promise<void> => {
      isReading = true;
      try {
        // Once more if the group changed while it was being read.
        for (let read: StoredGroup | undefined; read !== latest && !subscriber.closed;) {
          read = latest;
          const group = await readPages();
          if (read?.progress.done !== true) continue;
          if (group === undefined) throw expiredError(read);
          if (group.isDone) await finish(group.finished, read);
          // It has lost a member since, and is open again.
          else follow();
        }
      } catch (error) {
        subscriber.error(error);
      } finally {
        isReading = false;
      }
    };
    const follow = (): void => {
      subscription.unsubscribe();
      if (subscriber.closed) return;
      subscription = group$.subscribe({
        next: (group) => {
          latest = group;
          if (!isReading) void readOn();
        },
        error: (error: unknown) => subscriber.error(error),
        // Not completion: what has been read of the group may be ahead of what has been read of its members.
      });
    };

    follow();
    return () => {
      subscription.unsubscribe();
      unsubscribed.abort();
    };
  });
}

const expiredError = ({ progress, deadlineMs }: StoredGroup): WaitTimeoutError =>
  WaitTimeoutError.forGroup(progress.groupId, deadlineMs ?? 0, progress);
