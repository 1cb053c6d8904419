import { distinctUntilChanged, ReplaySubject, Subject } from "rxjs";
import { withTimeLimit } from "../database/race";
import type { Logger } from "../logger";
import type { ListenReport, ListenStatus, NotificationSource } from "./notifier";
import { decodePayload, type Notification } from "./payload";

/** Longest time for a source to close. */
const closeLimitMs = 5_000;

/** Closes a source, which may be that of the application's own notifier. Never rejects: logs what went wrong. */
export async function closeSource(source: NotificationSource, logger: Pick<Logger, "warn">): Promise<void> {
  const close = async (): Promise<void> => source.close();
  try {
    await withTimeLimit(close(), closeLimitMs, () => {
      throw new Error(`It did not close within ${closeLimitMs} ms.`);
    });
  } catch (error) {
    logger.warn(`The notifier could not be closed. ${String(error)}`);
  }
}

/** Common part of all sources: counts demands, decodes payloads, and keeps the status. */
export abstract class BaseNotificationSource implements NotificationSource {
  readonly #notifications$ = new Subject<Notification>();
  readonly #latest$ = new ReplaySubject<ListenStatus>(1);
  readonly notifications$ = this.#notifications$.asObservable();
  readonly status$ = this.#latest$.pipe(distinctUntilChanged());
  #status: ListenStatus = "idle";
  #problem: string | undefined;
  #demands = 0;
  #reconnects = 0;
  #invalid = 0;

  constructor() {
    this.#latest$.next(this.#status);
  }

  get report(): ListenReport {
    return {
      status: this.#status,
      reconnects: this.#reconnects,
      heartbeatMs: this.heartbeatMs,
      problem: this.#problem,
    };
  }

  get invalid(): number {
    return this.#invalid;
  }

  /** True while notifications are needed. */
  get isActive(): boolean {
    return this.#demands > 0;
  }

  demand(): () => void {
    this.#demands += 1;
    if (this.#status !== "closed") this.onDemand();
    let isReleased = false;
    return () => {
      if (!isReleased) this.#demands -= 1;
      isReleased = true;
    };
  }

  async close(): Promise<void> {
    this.setStatus("closed");
    this.#notifications$.complete();
    this.#latest$.complete();
    return Promise.resolve();
  }

  /** Passes a payload on, or counts it if it is not valid. */
  receive(payload: string): void {
    const notification = decodePayload(payload);
    if (notification === undefined) this.#invalid += 1;
    else this.#notifications$.next(this.accept(notification));
  }

  setStatus(status: ListenStatus, problem?: string): void {
    if (this.#status === "closed") return;
    this.#status = status;
    this.#problem = problem;
    this.#latest$.next(status);
  }

  countReconnect(): void {
    this.#reconnects += 1;
  }

  /** Connects, unless that was done before. */
  protected abstract onDemand(): void;

  /** Duration of the latest heartbeat. */
  protected get heartbeatMs(): number | undefined {
    return undefined;
  }

  /** Returns the part of a notification that this source may be trusted with. */
  protected accept(notification: Notification): Notification {
    return notification;
  }
}

/** For `listen: false`: no notifications arrive, and waits poll. */
export class NoNotifications extends BaseNotificationSource {
  protected onDemand(): void {
    this.setStatus("polling");
  }
}
