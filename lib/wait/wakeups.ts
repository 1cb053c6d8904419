import { filter, type Subscription, throttleTime } from "rxjs";
import type { StoredResult } from "../notify/hint";
import type { HintSource } from "../notify/hint-source";
import type { Feed } from "./feed";
import type { Loader } from "./loader";
import type { Router, WakeCause } from "./router";

// Any role can ask for a rescan; this is how often it gets one.
const rescanIntervalMs = 1_000;

export interface WakeupParts {
  readonly hints: HintSource;
  readonly router: Router<StoredResult>;
  readonly loader: Loader;
  readonly feed: Feed;
  /** Whether results that came in a notification are believed. */
  readonly trustInline: boolean;
}

/**
 * From hints to reads, composed once for a backend and not once for a wait (as an operator chain of its own, each wait cost 9 KB). A hint only ever causes
 * a read of what somebody here waits for; what nobody waits for costs a look into a map.
 */
export class Wakeups {
  readonly #parts: WakeupParts;
  readonly #subscription: Subscription;
  #hinted = 0;

  constructor(parts: WakeupParts) {
    this.#parts = parts;
    const { hints$, status$ } = parts.hints;
    this.#subscription = hints$.subscribe(({ taskIds, inline }) => {
      for (const taskId of taskIds) this.#onHint(taskId);
      for (const stored of inline) this.#onInline(stored);
    });
    this.#subscription.add(
      hints$
        .pipe(
          filter(({ rescan }) => rescan),
          throttleTime(rescanIntervalMs, undefined, { leading: true, trailing: true }),
        )
        .subscribe(() => this.rereadAll("notification")),
    );
    // LISTEN is confirmed, so nothing is missed from here on; what was stored before is found by reading everything once more.
    this.#subscription.add(
      status$.pipe(filter((status) => status === "listening")).subscribe(() => this.rereadAll("reconnect")),
    );
  }

  /** Hints that concerned somebody here. */
  get hinted(): number {
    return this.#hinted;
  }

  /** Has everything that is waited for read again. */
  rereadAll(cause: WakeCause): void {
    const { router, loader, feed } = this.#parts;
    for (const taskId of router.keys()) loader.request(taskId, cause);
    feed.catchUp();
  }

  close(): void {
    this.#subscription.unsubscribe();
  }

  #onHint(taskId: string): void {
    const { router, loader, feed } = this.#parts;
    if (!router.has(taskId) && !feed.wants(taskId)) return;
    this.#hinted += 1;
    loader.request(taskId, "notification");
  }

  #onInline(stored: StoredResult): void {
    const { router, feed, trustInline } = this.#parts;
    if (!trustInline) {
      this.#onHint(stored.taskId);
      return;
    }
    if (!router.has(stored.taskId) && !feed.wants(stored.taskId)) return;
    this.#hinted += 1;
    router.next(stored.taskId, stored, "inline");
    feed.offer(stored, true);
  }
}
