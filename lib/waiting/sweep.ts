import { longestTimerMs } from "../value/arguments";
import type { Subscription } from "rxjs";
import type { NotificationSource } from "../notifications/notifier";
import type { WakeCause } from "./router";

/** Between two sweeps while nothing can be heard. */
const pollIntervalMs = 1_000;
// Processes that lost the same server start to sweep in the same second; they should not stay in step.
const jitter = 0.2;

/**
 * The safety net under the notifications: while anybody waits it holds the listener open and, now and then, has everything that is waited for read again; often
 * while nothing is heard. While nobody waits it does nothing at all.
 */
export class Sweep {
  readonly #notifications: NotificationSource;
  readonly #intervalMs: number;
  readonly #sweep: () => void;
  readonly #status: Subscription;
  #waiting = 0;
  #isListening = false;
  #isClosed = false;
  #isHurrying = false;
  /** Whether the latest sweep was for what could not be read before: what it finds was not overheard. */
  #wasHurried = false;
  #timer: NodeJS.Timeout | undefined;
  #release: (() => void) | undefined;
  #sweeps = 0;
  #caught = 0;

  constructor(notifications: NotificationSource, intervalMs: number, sweep: () => void) {
    this.#notifications = notifications;
    this.#intervalMs = intervalMs;
    this.#sweep = sweep;
    this.#status = notifications.status$.subscribe((status) => {
      this.#isListening = status === "listening";
      this.#arm();
    });
  }

  get sweeps(): number {
    return this.#sweeps;
  }

  /** What a sweep found that a notification should have told of. */
  get caught(): number {
    return this.#caught;
  }

  /** To be called with what brought to light something that has been there for a while. */
  countCaught(cause: WakeCause): void {
    if (cause === "sweep" && this.#isListening && !this.#wasHurried) this.#caught += 1;
  }

  /** Whether a notification would be heard right now. */
  get isListening(): boolean {
    return this.#isListening;
  }

  /** What a notification told of could not be read, and no other notification will tell of it: the next sweep comes as soon as where nothing is heard. */
  hurry(): void {
    if (this.#isHurrying) return;
    this.#isHurrying = true;
    this.#arm();
  }

  /** Somebody begins to wait. */
  enter(): void {
    this.#waiting += 1;
    if (this.#waiting > 1) return;
    this.#release = this.#notifications.demand();
    this.#arm();
  }

  /** Somebody who had entered waits no more. */
  leave(): void {
    this.#waiting -= 1;
    if (this.#waiting > 0) return;
    this.#release?.();
    this.#release = undefined;
    clearTimeout(this.#timer);
  }

  close(): void {
    this.#isClosed = true;
    this.#status.unsubscribe();
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#waiting === 0 || this.#isClosed) return;
    const everyMs =
      this.#isListening && !this.#isHurrying ? this.#intervalMs : Math.min(pollIntervalMs, this.#intervalMs);
    this.#timer = setTimeout(
      () => {
        this.#sweeps += 1;
        this.#wasHurried = this.#isHurrying;
        this.#isHurrying = false;
        this.#sweep();
        this.#arm();
      },
      Math.min(everyMs * (1 - jitter + 2 * jitter * Math.random()), longestTimerMs),
    );
  }
}
