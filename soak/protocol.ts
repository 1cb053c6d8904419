import type { Stats } from "kojin-postgres";

/** The connection settings of a worker. */
export interface WorkerSetup {
  readonly url: string;
  /** Another address of the server for its listener. */
  readonly listenUrl?: string;
  readonly schema: string;
  readonly notify: "trigger" | "deferred";
  /** True if it subscribes to `results$` and `groupCompletions$`, and so listens all the time. */
  readonly hasFeeds: boolean;
}

export interface GroupPlan {
  readonly groupId: string;
  readonly members: readonly string[];
  readonly isDeclared: boolean;
}

/** One call of the backend. */
export type Order =
  | { readonly what: "store"; readonly taskId: string }
  | { readonly what: "wait"; readonly taskId: string; readonly timeoutMs: number }
  | { readonly what: "initGroup" | "followGroup"; readonly group: GroupPlan }
  | { readonly what: "waitGroup"; readonly group: GroupPlan; readonly timeoutMs: number }
  | { readonly what: "finishMember"; readonly groupId: string; readonly taskId: string }
  | { readonly what: "claim"; readonly groupId: string };

/**
 * `done`: the expected outcome. `timeout`: a `WaitTimeoutError`. `nothing`: a claim that was not granted. `wrong`: a
 * value that was never stored. `failed`: any other error.
 */
export type Outcome = "done" | "timeout" | "nothing" | "wrong" | "failed";

/** The end of a call. Times are in milliseconds since 1970, with fractions. */
export interface Ended {
  readonly outcome: Outcome;
  readonly startedAt: number;
  readonly endedAt: number;
  /** The error of `failed`, or the difference of `wrong`. */
  readonly detail: string;
}

/** From the main process to a worker. */
export type Command =
  { readonly call: number; readonly order: Order } | { readonly command: "close" } | { readonly command: "leave" };

/** From a worker to the main process. */
export type Report =
  | { readonly report: "ready" }
  | { readonly report: "ended"; readonly call: number; readonly ended: Ended }
  | { readonly report: "seen"; readonly feed: "results" | "groups"; readonly ids: readonly string[] }
  | { readonly report: "feed ended"; readonly error: string }
  | { readonly report: "closed"; readonly tookMs: number; readonly stats: Stats };

/** Not Date.now(), which has whole milliseconds only and differs between processes by as much. */
export const now = (): number => performance.timeOrigin + performance.now();
