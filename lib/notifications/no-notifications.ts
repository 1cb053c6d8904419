import { distinctUntilChanged, NEVER, type Observable, ReplaySubject } from "rxjs";
import type { Notification } from "./payload";
import type { NotificationSource, ListenReport, ListenStatus } from "./notifier";

/** Poll mode by choice (`listen: false`): there are no notifications, and everything is found by reading. */
export class NoNotifications implements NotificationSource {
  readonly #latest$ = new ReplaySubject<ListenStatus>(1);
  readonly notifications$: Observable<Notification> = NEVER;
  readonly status$ = this.#latest$.pipe(distinctUntilChanged());
  readonly invalid = 0;
  #status: ListenStatus = "idle";

  constructor() {
    this.#latest$.next(this.#status);
  }

  get report(): ListenReport {
    return { status: this.#status, reconnects: 0, heartbeatMs: undefined, problem: undefined };
  }

  demand(): () => void {
    if (this.#status === "idle") this.#setStatus("polling");
    return () => undefined;
  }

  async close(): Promise<void> {
    this.#setStatus("closed");
    this.#latest$.complete();
    return Promise.resolve();
  }

  #setStatus(status: ListenStatus): void {
    this.#status = status;
    this.#latest$.next(status);
  }
}
