import { catchError, defer, map, mergeMap, type Observable, of, type OperatorFunction, tap, throwError } from "rxjs";
import { isWaitTimeout } from "../value/foreign";
import type { GroupBackend, GroupProgress } from "../result-backend";
import { checkConcurrency, defaultConcurrency } from "./await-results";

export interface GroupProgressOptions {
  /** Most groups watched at once; further ids stand in line until one is done. 1 or more; `Infinity` for no limit. Default 10 000. */
  readonly concurrency?: number;
}

/** How far a group is, and whether its deadline was over before it was done. */
export interface GroupState extends GroupProgress {
  /** Nothing more comes of it. */
  readonly expired: boolean;
}

/**
 * Turns a stream of group ids into a stream of how far the groups are: of each at once, at every change, and a last time when it is done, or its deadline is over.
 *
 * ```text
 * ids        g----h-|
 *            groupProgress(backend)
 * finished   -g-g----h          members of g, which has two, and of h, which has one
 * states     ab-c-d--(e|)       a: 0 of g, b: 1 of g, c: g is done, d: 0 of h, e: h is done
 * ```
 *
 * Completes when its source has completed and each group is done or expired. Errors when its source does, and when nothing can be read any more: with a
 * `BackendClosedError`, a `DatabaseError` or a `SchemaError`. Of a group that nothing is known of, nothing is emitted until something is.
 */
export function groupProgress(
  backend: Pick<GroupBackend, "group$">,
  { concurrency = defaultConcurrency }: GroupProgressOptions = {},
): OperatorFunction<string, GroupState> {
  checkConcurrency(concurrency);
  return mergeMap((groupId) => states$(backend, groupId), concurrency);
}

function states$(backend: Pick<GroupBackend, "group$">, groupId: string): Observable<GroupState> {
  return defer(() => {
    let latest: GroupProgress = { groupId, total: null, completed: 0, failed: 0, done: false };
    return backend.group$(groupId).pipe(
      tap((progress) => (latest = progress)),
      map((progress) => ({ ...progress, expired: false })),
      // One group that took too long says nothing of the others.
      catchError((error: unknown) =>
        isWaitTimeout(error) ? of({ ...latest, expired: true }) : throwError(() => error),
      ),
    );
  });
}
