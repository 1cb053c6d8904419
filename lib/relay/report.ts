import type { ListenReport } from "../notifications/notifier";
import { type PayloadName, payloadNames } from "../notifications/payload";
import type { LeadershipReport } from "./leadership";

/** `leader`: relays. `standby`: ready to take over, or waiting to be. `closed`: by `close()`. */
export type RelayRole = "leader" | "standby" | "closed";

/**
 * Cause of a request to read everything. `takeover`: a relay began to lead. `reconnect`: the connection to Postgres was
 * interrupted. `announced`: a writer's statement was too large to name its ids. `overflow`: too many ids were waiting.
 */
export type RescanCause = "takeover" | "reconnect" | "announced" | "overflow";

/** State of a relay, and what it has done since it was started. */
export interface RelayReport {
  /** True if the relay relays, or stands by and could take over. */
  readonly ok: boolean;
  readonly role: RelayRole;
  /** What is wrong, in words; empty when all is well. */
  readonly problems: readonly string[];
  /** The session by which relays agree on a leader. */
  readonly leadership: LeadershipReport;
  /** The listener in Postgres; `idle` on standby. Its reconnects are those of all terms. */
  readonly listen: ListenReport;
  /** The connection of the notifier, such as NATS. */
  readonly notifier: ListenReport & { readonly name: string };
  /** Number of times the relay began to lead. */
  readonly terms: number;
  /**
   * Notifications received, by what they were about: results (`ids`), groups that changed, completed, or may be either
   * (`members`), or too much to name (`rescan`).
   */
  readonly notifications: Readonly<Record<PayloadName | "rescan", number>>;
  /** Payloads that were not valid. */
  readonly invalid: number;
  /** Ids relayed, by the same names. An id received several times while it waited is counted once. */
  readonly ids: Readonly<Record<PayloadName, number>>;
  /** Number of times all processes were asked to read everything, by cause. */
  readonly rescans: Readonly<Record<RescanCause, number>>;
  /** Announcements that the notifier could not confirm at first. They are made again. */
  readonly unconfirmed: number;
  /** Ids that wait, or are being published. */
  readonly unpublished: number;
  /** Age of the oldest of them, in milliseconds; 0 if there is none. */
  readonly lagMs: number;
  /** Time since the latest notification, in milliseconds; undefined before the first. */
  readonly lastNotificationAgeMs: number | undefined;
}

/** Counts what one relay has done, over all its terms. */
export class RelayCounters {
  readonly notifications = { ...noIds(), rescan: 0 };
  readonly ids = noIds();
  readonly rescans: Record<RescanCause, number> = { takeover: 0, reconnect: 0, announced: 0, overflow: 0 };
  terms = 0;
  unconfirmed = 0;
  /** Of the listeners of past terms. */
  listenReconnects = 0;
  invalid = 0;
  /** On the clock of `performance.now()`; undefined before the first. */
  lastNotificationAt: number | undefined;
}

const noIds = (): Record<PayloadName, number> =>
  Object.fromEntries(payloadNames.map((name) => [name, 0])) as Record<PayloadName, number>;
