import type { PayloadName } from "../notifications/payload";
import type { ListenReport } from "../notifications/notifier";
import type { RescanCause } from "./counters";
import type { LeadershipReport } from "./leadership";

/** `leader`: it relays. `standby`: it is ready to, or would be, and another may do so. `closed`: by `close()`. */
export type RelayRole = "leader" | "standby" | "closed";

/** How a relay is, and what it has done since it was started. */
export interface RelayReport {
  /** Whether it relays, or stands by and could. */
  readonly ok: boolean;
  readonly role: RelayRole;
  /** What is wrong, in words; empty when all is well. */
  readonly problems: readonly string[];
  /** The connection by which relays agree on who leads. */
  readonly leadership: LeadershipReport;
  /** How it hears from Postgres; `idle` while it stands by. Its reconnects are those of all times in which it led. */
  readonly listen: ListenReport;
  /** The connection of the notifier, such as NATS. */
  readonly notifier: ListenReport & { readonly name: string };
  /** How often it has begun to lead. */
  readonly terms: number;
  /** Notifications that came in, by what they were about: results (`ids`), groups that changed, got done, or may be either (`members`), or too much to name (`rescan`). */
  readonly notifications: Readonly<Record<PayloadName | "rescan", number>>;
  /** Payloads that were not this library's. */
  readonly invalid: number;
  /** Ids that were handed on, by the same names. */
  readonly ids: Readonly<Record<PayloadName, number>>;
  /** How often all were asked to look at everything, and why. */
  readonly rescans: Readonly<Record<RescanCause, number>>;
  /** Announcements that the notifier could not confirm at first. They are made again. */
  readonly unconfirmed: number;
  /** Ids that wait, or are under way. */
  readonly unpublished: number;
  /** How long the oldest of these has been here, in milliseconds; 0 if there is none. */
  readonly lagMs: number;
  /** Since the latest notification, in milliseconds; undefined before the first. */
  readonly lastNotificationAgeMs: number | undefined;
}
