import type { Stats } from "kojin-postgres";

/** How a worker connects. */
export interface WorkerSetup {
  readonly url: string;
  /** Another way to the server for its listener. */
  readonly listenUrl?: string;
  readonly schema: string;
  readonly notify: "trigger" | "deferred";
  /** Whether it subscribes to `results$` and `groupCompletions$`, and so listens all the time. */
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
 * `done`: with what was to be expected. `timeout`: a `WaitTimeoutError`. `nothing`: a claim that was not given. `wrong`: with something that was never stored. `failed`: with
 * any other error.
 */
export type Outcome = "done" | "timeout" | "nothing" | "wrong" | "failed";

/** How a call ended. Times are in milliseconds since 1970, with fractions. */
export interface Ended {
  readonly outcome: Outcome;
  readonly startedAt: number;
  readonly endedAt: number;
  /** For `failed` the error, for `wrong` the difference. */
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

/** Not Date.now(), which knows whole milliseconds only, and differs between processes no less. */
export const now = (): number => performance.timeOrigin + performance.now();
