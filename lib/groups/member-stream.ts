import { Observable } from "rxjs";
import type { StoredResult } from "../notify/hint";
import type { StoredGroup } from "./stored-group";

/** A member that finished, and its place in the order in which members did. */
export interface FinishedMember {
  readonly stored: StoredResult;
  readonly finishedSeq: number;
}

export interface MemberReader {
  /** A page of the members that finished after a given one, in that order. It goes on through any outage, until the signal aborts. */
  readonly readFinished: (
    groupId: string,
    afterSeq: number,
    limit: number,
    signal: AbortSignal,
  ) => Promise<readonly FinishedMember[]>;
  /** Members that finished without a number: only while triggers are disabled. */
  readonly readUnnumbered: (groupId: string, signal: AbortSignal) => Promise<readonly FinishedMember[]>;
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
    const unsubscribed = new AbortController();

    const emit = (page: readonly FinishedMember[]): void => {
      for (const { stored, finishedSeq } of page) {
        lastSeq = Math.max(lastSeq, finishedSeq);
        emitted += 1;
        subscriber.next(stored);
      }
    };
    const readPages = async (): Promise<void> => {
      let page: readonly FinishedMember[];
      do {
        page = await reader.readFinished(groupId, lastSeq, pageRows, unsubscribed.signal);
        emit(page);
      } while (page.length === pageRows && !subscriber.closed);
    };
    const readOn = async (): Promise<void> => {
      isReading = true;
      try {
        // Once more if the group changed while it was being read.
        for (let read: StoredGroup | undefined; read !== latest && !subscriber.closed;) {
          read = latest;
          await readPages();
          if (read?.progress.done !== true) continue;
          if (emitted < read.progress.completed + read.progress.failed)
            emit(await reader.readUnnumbered(groupId, unsubscribed.signal));
          subscriber.complete();
        }
      } catch (error) {
        subscriber.error(error);
      } finally {
        isReading = false;
      }
    };

    subscriber.add(() => unsubscribed.abort());
    return group$.subscribe({
      next: (group) => {
        latest = group;
        if (!isReading) void readOn();
      },
      error: (error: unknown) => subscriber.error(error),
      // Not completion: what has been read of the group may be ahead of what has been read of its members.
    });
  });
}
