import { type PayloadName, payloadNames } from "../notifications/payload";

/** Why all are asked to look at everything: who leads has begun to; the way from Postgres was interrupted; a writer's statement was too large to name; there was too much to keep. */
export type RescanCause = "takeover" | "reconnect" | "announced" | "overflow";

/** What one relay has done since it was started, over all times in which it led. */
export class RelayCounters {
  /** Notifications by what they were about. */
  readonly notifications: Record<PayloadName | "rescan", number> = {
    ids: 0,
    groups: 0,
    done: 0,
    members: 0,
    rescan: 0,
  };
  /** Ids handed on. What came several times while it waited is counted once. */
  readonly ids: Record<PayloadName, number> = { ids: 0, groups: 0, done: 0, members: 0 };
  readonly rescans: Record<RescanCause, number> = { takeover: 0, reconnect: 0, announced: 0, overflow: 0 };
  /** How often it has begun to lead. */
  terms = 0;
  /** Announcements that could not be confirmed at first; they are made again. */
  unconfirmed = 0;
  /** Of the listeners of past terms. */
  listenReconnects = 0;
  invalid = 0;
  /** On the clock of `performance.now()`; undefined before the first. */
  lastNotificationAt: number | undefined;
}

/** Ids by what they are, each once. */
export type IdSets = Record<PayloadName, Set<string>>;

export const emptyIdSets = (): IdSets => ({
  ids: new Set(),
  groups: new Set(),
  done: new Set(),
  members: new Set(),
});

export const countIds = (sets: IdSets): number => payloadNames.reduce((sum, name) => sum + sets[name].size, 0);
