import type { ListenStatus } from "../notifications/notifier";
import type { WriteCounters } from "../results/batched-writer";
import type { ReadCounters } from "../waiting/loader";
import type { WakeCause } from "../waiting/router";

/** Counters of a backend since it was created. Reading them sends no query. */
export interface Stats {
  readonly status: ListenStatus;
  /** Tasks that this process waits for. */
  readonly waiting: number;
  /** Groups that this process waits for. */
  readonly waitingGroups: number;
  /** Tasks whose chunks this process follows. */
  readonly waitingChunks: number;
  /** Subscribers of `results$`, `groupCompletions$` and `groupChanges$`. */
  readonly feeds: number;
  /**
   * Number of waits by what brought them their result. `read`: it was already stored. `notification`: a notification
   * named it. `inline`: a notification contained it. `reconnect`: the read after LISTEN was confirmed. `sweep`: the
   * regular read. `deadline`: the last read.
   */
  readonly wokenBy: Readonly<Record<WakeCause, number>>;
  /**
   * Results and completed groups that a sweep found more than a second after they were stored, while this process was
   * listening. Above 0, notifications may have been lost.
   */
  readonly caughtBySweep: number;
  readonly sweeps: number;
  /** Statements of all kinds that were sent to the database. */
  readonly queries: number;
  /** Writes of results. */
  readonly stores: WriteCounters;
  /** Writes of group members. */
  readonly groupWrites: WriteCounters;
  /** Writes of chunks. */
  readonly emits: WriteCounters;
  readonly reads: ReadCounters;
  readonly notifications: {
    /** Ids in notifications that this process waited for. */
    readonly relevant: number;
    /** Payloads with an unknown format. */
    readonly invalid: number;
  };
  /**
   * Notifications after a commit (`notify: 'deferred'`, or counted as `unnotified`) that failed and were dropped, and
   * those that a notifier could not confirm at first.
   */
  readonly announcementsFailed: number;
  readonly reconnects: number;
  readonly heartbeatMs: number | undefined;
}
