import { Subject, type Subscription, throttleTime } from "rxjs";
import type { Hint } from "../notifications/hint";
import type { HintSource, LateKeys } from "../notifications/hint-source";
import type { WakeCause } from "./router";

// Any role can ask for a rescan; this is how often it gets one.
const rescanIntervalMs = 1_000;

/** Something that is waited for here: results of tasks, or groups. */
export interface HintReceiver {
  /** Has what a hint names read, as far as somebody waits for it; tells how much that is. */
  receive(hint: Hint): number;
  /** Has read once more what hints are heard of only from now on, as far as somebody still waits for it. */
  reread(late: LateKeys): void;
  /** Has everything that is waited for read again. */
  rereadAll(cause: WakeCause): void;
}

/**
 * From hints to reads, composed once for a backend and not once for a wait (as an operator chain of its own, each wait cost 9 KB). A hint only ever causes
 * a read of what somebody here waits for; what nobody waits for costs a look into a map.
 */
export class Wakeups {
  readonly #receivers: readonly HintReceiver[];
  readonly #subscription: Subscription;
  #relevant = 0;

  constructor({ hints$, status$, selection }: HintSource, receivers: readonly HintReceiver[]) {
    this.#receivers = receivers;
    const rescans$ = new Subject<void>();
    // One subscription: this is the way of each wake-up, and hardly any is a rescan.
    this.#subscription = hints$.subscribe((hint) => {
      if (hint.rescan) rescans$.next();
      else for (const receiver of receivers) this.#relevant += receiver.receive(hint);
    });
    this.#subscription.add(
      selection?.late$.subscribe((late) => {
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

  /** Ids in hints that concerned somebody here. */
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
