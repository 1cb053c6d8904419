import type { ListenStatus } from "../notifications/notifier";
import type { WriteCounters } from "../results/write-rules";
import type { ReadCounters } from "../waiting/loader";
import type { WakeCause } from "../waiting/router";

/** Counters of this backend since it was made; reading them asks nobody. */
export interface Stats {
  readonly status: ListenStatus;
  /** Tasks that somebody here waits for. */
  readonly waiting: number;
  /** Groups that somebody here waits for. */
  readonly waitingGroups: number;
  /** Subscribers of `results$`, `groupCompletions$` and `groupChanges$`. */
  readonly feeds: number;
  /**
   * How waits came to their results. `read`: it was there already. `notification`, `inline`: a notification told of it, or brought it. `reconnect`: found after
   * LISTEN was (again) confirmed. `sweep`: found by the regular re-read. `deadline`: found by the last read.
   */
  readonly wokenBy: Readonly<Record<WakeCause, number>>;
  /**
   * Results, and groups that were done, that a sweep found although they had been there for more than a second while this process was listening: it may be deaf without
   * knowing.
   */
  readonly caughtBySweep: number;
  readonly sweeps: number;
  /** Statements sent to the database, of all kinds. */
  readonly queries: number;
  /** Results of tasks. */
  readonly stores: WriteCounters;
  /** Members of groups. */
  readonly groupWrites: WriteCounters;
  readonly reads: ReadCounters;
  readonly notifications: {
    /** Ids that a notification named and somebody here waited for. */
    readonly relevant: number;
    /** Payloads that were not ours. */
    readonly invalid: number;
  };
  /** Announcements after the commit (of `notify: 'deferred'`, or of what is counted as `unnotified`) that failed and were dropped. */
  readonly announcementsFailed: number;
  readonly reconnects: number;
  readonly heartbeatMs: number | undefined;
}
