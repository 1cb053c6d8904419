import { Subject, type Subscription, throttleTime } from "rxjs";
import type { NotificationSource, SubscribedKeys } from "../notifications/notifier";
import type { Notification } from "../notifications/payload";
import { longestTimerMs } from "../value/arguments";
import type { WakeCause } from "./router";

/** Between two sweeps while no notification can arrive. */
const pollIntervalMs = 1_000;
/** Jitter that spreads the sweeps of processes that lost the same server at the same time. */
const jitter = 0.2;
/** Shortest interval between rescans, which any role can request. */
const rescanIntervalMs = 1_000;

/** Reads what is awaited: results of tasks, or groups. */
export interface NotificationReceiver {
  /** Reads what a notification names, as far as it is awaited; returns the number of such ids. */
  receive(notification: Notification): number;
  /** Reads again what the notifier reports only from now on. */
  reread(late: SubscribedKeys): void;
  /** Reads everything that is awaited again. */
  rereadAll(cause: WakeCause): void;
}

/**
 * Reads awaited keys when a notification names them, after each reconnect, and in a regular sweep as a safety net.
 * Keeps the listener open while anything is awaited, and does nothing otherwise.
 */
export class Sweep {
  readonly #notifications: NotificationSource;
  readonly #intervalMs: number;
  readonly #receivers: NotificationReceiver[] = [];
  /** One subscription per backend. With an operator chain per wait, each wait cost 9 KB. */
  readonly #subscription: Subscription;
  #waiting = 0;
  #relevant = 0;
  #sweeps = 0;
  #caught = 0;
  #isListening = false;
  #isClosed = false;
  #isHurrying = false;
  /** Set if the latest sweep was for keys that could not be read before, whose notifications were not missed. */
  #wasHurried = false;
  #timer: NodeJS.Timeout | undefined;
  #release: (() => void) | undefined;

  constructor(notifications: NotificationSource, intervalMs: number) {
    this.#notifications = notifications;
    this.#intervalMs = intervalMs;
    const rescans$ = new Subject<void>();
    this.#subscription = rescans$
      .pipe(throttleTime(rescanIntervalMs, undefined, { leading: true, trailing: true }))
      .subscribe(() => this.#rereadAll("notification"));
    this.#subscription.add(
      notifications.notifications$.subscribe((notification) => {
        if (notification.rescan) rescans$.next();
        else for (const receiver of this.#receivers) this.#relevant += receiver.receive(notification);
      }),
    );
    this.#subscription.add(
      notifications.selection?.subscribed$.subscribe((late) => {
        for (const receiver of this.#receivers) receiver.reread(late);
      }),
    );
    this.#subscription.add(
      notifications.status$.subscribe((status) => {
        this.#isListening = status === "listening";
        this.#arm();
        // LISTEN is confirmed, so nothing is missed from now on. This read finds what was stored before.
        if (this.#isListening) this.#rereadAll("reconnect");
      }),
    );
  }

  attach(receiver: NotificationReceiver): void {
    this.#receivers.push(receiver);
  }

  get sweeps(): number {
    return this.#sweeps;
  }

  /** Values that a sweep found although a notification should have named them. */
  get caught(): number {
    return this.#caught;
  }

  /** Ids in notifications that were awaited here. */
  get relevant(): number {
    return this.#relevant;
  }

  /** Counts a value that a sweep found some time after it was stored. */
  countCaught(cause: WakeCause): void {
    if (cause === "sweep" && this.#isListening && !this.#wasHurried) this.#caught += 1;
  }

  /** Schedules the next sweep within about a second, since no further notification names what could not be read. */
  hurry(): void {
    if (this.#isHurrying) return;
    this.#isHurrying = true;
    this.#arm();
  }

  /** Notes the start of a wait or a stream. */
  enter(): void {
    this.#waiting += 1;
    if (this.#waiting > 1) return;
    this.#release = this.#notifications.demand();
    this.#arm();
  }

  /** Ends what {@link Sweep.enter} began. */
  leave(): void {
    this.#waiting -= 1;
    if (this.#waiting > 0) return;
    this.#release?.();
    this.#release = undefined;
    clearTimeout(this.#timer);
  }

  close(): void {
    this.#isClosed = true;
    this.#subscription.unsubscribe();
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#waiting === 0 || this.#isClosed) return;
    const isPatient = this.#isListening && !this.#isHurrying;
    const intervalMs = isPatient ? this.#intervalMs : Math.min(pollIntervalMs, this.#intervalMs);
    const delayMs = intervalMs * (1 - jitter + 2 * jitter * Math.random());
    this.#timer = setTimeout(() => this.#sweep(), Math.min(delayMs, longestTimerMs));
  }

  #sweep(): void {
    this.#sweeps += 1;
    this.#wasHurried = this.#isHurrying;
    this.#isHurrying = false;
    this.#rereadAll("sweep");
    this.#arm();
  }

  #rereadAll(cause: WakeCause): void {
    for (const receiver of this.#receivers) receiver.rereadAll(cause);
  }
}
