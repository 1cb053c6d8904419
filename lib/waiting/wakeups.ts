import { Subject, type Subscription, throttleTime } from "rxjs";
import type { Notification } from "../notifications/payload";
import type { NotificationSource, SubscribedKeys } from "../notifications/notifier";
import type { WakeCause } from "./router";

// Any role can ask for a rescan; this is how often it gets one.
const rescanIntervalMs = 1_000;

/** Something that is waited for here: results of tasks, or groups. */
export interface NotificationReceiver {
  /** Has what a notification names read, as far as somebody waits for it; tells how much that is. */
  receive(notification: Notification): number;
  /** Has read once more what notifications are heard of only from now on, as far as somebody still waits for it. */
  reread(late: SubscribedKeys): void;
  /** Has everything that is waited for read again. */
  rereadAll(cause: WakeCause): void;
}

/**
 * From notifications to reads, composed once for a backend and not once for a wait (as an operator chain of its own, each wait cost 9 KB). A notification only ever causes
 * a read of what somebody here waits for; what nobody waits for costs a look into a map.
 */
export class Wakeups {
  readonly #receivers: readonly NotificationReceiver[];
  readonly #subscription: Subscription;
  #relevant = 0;

  constructor({ notifications$, status$, selection }: NotificationSource, receivers: readonly NotificationReceiver[]) {
    this.#receivers = receivers;
    const rescans$ = new Subject<void>();
    // One subscription: this is the way of each wake-up, and hardly any is a rescan.
    this.#subscription = notifications$.subscribe((notification) => {
      if (notification.rescan) rescans$.next();
      else for (const receiver of receivers) this.#relevant += receiver.receive(notification);
    });
    this.#subscription.add(
      selection?.subscribed$.subscribe((late) => {
        for (const receiver of receivers) receiver.reread(late);
      }),
    );
    this.#subscription.add(
      rescans$
        .pipe(throttleTime(rescanIntervalMs, undefined, { leading: true, trailing: true }))
        .subscribe(() => this.rereadAll("notification")),
    );
    this.#subscription.add(
      status$.subscribe((status) => {
        // LISTEN is confirmed, so nothing is missed from here on; what was stored before is found by reading everything once more.
        if (status === "listening") this.rereadAll("reconnect");
      }),
    );
  }

  /** Ids in notifications that concerned somebody here. */
  get relevant(): number {
    return this.#relevant;
  }

  rereadAll(cause: WakeCause): void {
    for (const receiver of this.#receivers) receiver.rereadAll(cause);
  }

  close(): void {
    this.#subscription.unsubscribe();
  }
}
