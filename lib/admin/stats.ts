import type { ListenStatus } from "../notifications/notifier";
import type { WriteCounters } from "../results/batched-writer";
import type { ReadCounters } from "../waiting/loader";
import type { WakeCause } from "../waiting/router";

/** Counters of a backend since it was created. Reading them sends no query. */
export interface Stats {
  readonly status: ListenStatus;
  /** Tasks that are waited for here. */
  readonly waiting: number;
  /** Groups that are waited for here. */
  readonly waitingGroups: number;
  /** Subscribers of `results$`, `groupCompletions$` and `groupChanges$`. */
  readonly feeds: number;
  /**
   * What led waits to their results. `read`: already stored. `notification`, `inline`: named in, or contained in, a
   * notification. `reconnect`: found after LISTEN was confirmed. `sweep`: found by the regular read. `deadline`: found
   * by the last read.
   */
  readonly wokenBy: Readonly<Record<WakeCause, number>>;
  /**
   * Results and completed groups that a sweep found although they were stored more than a second before, while this
   * process was listening. Above 0, notifications may be lost.
   */
  readonly caughtBySweep: number;
  readonly sweeps: number;
  /** Statements of all kinds that were sent to the database. */
  readonly queries: number;
  /** Writes of results. */
  readonly stores: WriteCounters;
  /** Writes of group members. */
  readonly groupWrites: WriteCounters;
  readonly reads: ReadCounters;
  readonly notifications: {
    /** Ids in notifications that were waited for here. */
    readonly relevant: number;
    /** Payloads with an unknown format. */
    readonly invalid: number;
  };
  /** Notifications after a commit (`notify: 'deferred'`, or counted as `unnotified`) that failed and were dropped. */
  readonly announcementsFailed: number;
  readonly reconnects: number;
  readonly heartbeatMs: number | undefined;
}
