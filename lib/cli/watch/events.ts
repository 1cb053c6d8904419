import type { GroupProgress, ListenStatus } from "../../index";
import type { TaskFailure } from "../../errors";
import type { JsonText } from "../../value/json-text";

/** What somebody who watches gets to see; in JSON exactly this. `at` is the time here, in ISO 8601. */
export type WatchEvent = { readonly at: string } & (
  | { readonly type: "listener"; readonly status: ListenStatus }
  | { readonly type: "result"; readonly taskId: string; readonly status: "fulfilled"; readonly value?: JsonText }
  | { readonly type: "result"; readonly taskId: string; readonly status: "rejected"; readonly failure: TaskFailure }
  | ({ readonly type: "group" } & GroupProgress)
  | ({ readonly type: "rates" } & Rates)
);

/** What came since the watching began, and how much of it per second since the rates before. */
interface Rates {
  readonly results: number;
  readonly failures: number;
  readonly groupsDone: number;
  readonly openGroups: number;
  readonly resultsPerSecond: number;
}

export interface WatchView {
  show(event: WatchEvent): void;
  /** May be called again. */
  close(): void;
}
