import { distinctUntilChanged, ReplaySubject, Subject } from "rxjs";
import { decodePayload, type Notification, rescanPayload } from "../notifications/payload";
import type { NotificationSource, ListenReport, ListenStatus } from "../notifications/notifier";
import type { Logger } from "../logger";
import type { NatsLink } from "./nats-link";
import type { NatsPublisher } from "./nats-publisher";
import { ShardSelection } from "./shard-selection";
import type { NatsMember, SharedNats } from "./shared-nats";
import type { Subjects } from "./subjects";

export interface NatsNotificationsParts {
  readonly shared: SharedNats;
  readonly subjects: Subjects;
  /** Tells for the same backend; ends with this. */
  readonly publisher: NatsPublisher;
  readonly confirmTimeoutMs: number;
  readonly logger: Pick<Logger, "info" | "warn">;
}

/** Receives notifications over NATS. Backends that were given the same notifier share its connection. */
export class NatsNotifications implements NotificationSource, NatsMember {
  readonly selection: ShardSelection;
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly #parts: NatsNotificationsParts;
  readonly #notifications$ = new Subject<Notification>();
  readonly #latest$ = new ReplaySubject<ListenStatus>(1);
  readonly notifications$ = this.#notifications$.asObservable();
  readonly status$ = this.#latest$.pipe(distinctUntilChanged());
  #status: ListenStatus = "idle";
  #problem: string | undefined;
  #reconnects = 0;
  #heartbeatMs: number | undefined;
  #invalid = 0;
  #demand = 0;
  /** The connection that it hears by, or is about to. */
  #link: NatsLink | undefined;
  #warned: string | undefined;

  constructor(parts: NatsNotificationsParts) {
    this.#parts = parts;
    this.logger = parts.logger;
    this.#latest$.next(this.#status);
    this.selection = new ShardSelection({
      subjects: parts.subjects,
      confirmTimeoutMs: parts.confirmTimeoutMs,
      receive: (payload) => this.#receive(payload),
      onSettled: (problem) => this.#settle(problem),
      onSpread: () => this.#receive(rescanPayload),
    });
  }

  get report(): ListenReport {
    const problem = this.#problem ?? this.#parts.publisher.problem;
    return { status: this.#status, reconnects: this.#reconnects, heartbeatMs: this.#heartbeatMs, problem };
  }

  get invalid(): number {
    return this.#invalid;
  }

  get isNeedy(): boolean {
    return this.#demand > 0;
  }

  demand(): () => void {
    const { shared } = this.#parts;
    this.#demand += 1;
    if (this.#status !== "closed") {
      if (shared.link !== undefined) this.connected(shared.link);
      else if (this.#status === "idle" && shared.problem === undefined) this.#setStatus("connecting");
      else if (this.#status === "idle") this.#setStatus("polling", shared.problem);
      shared.need();
    }
    let isReleased = false;
    return () => {
      if (!isReleased) this.#demand -= 1;
      isReleased = true;
    };
  }

  connected(link: NatsLink): void {
    if (this.#link === link) return;
    // A process that stores and never waits subscribes to nothing.
    if (this.#demand === 0) {
      this.rested();
      return;
    }
    this.#link = link;
    this.#setStatus("connecting");
    this.selection.attach(link);
  }

  lost(problem: string): void {
    if (this.#link !== undefined) {
      this.#link = undefined;
      this.#reconnects += 1;
      this.selection.detach();
    }
    if (this.#status !== "idle") this.#setStatus("connecting", problem);
  }

  failed(problem: string): void {
    if (this.#status !== "idle") this.#setStatus("polling", problem);
  }

  rested(): void {
    this.#setStatus("idle");
  }

  answered(roundTripMs: number): void {
    this.#heartbeatMs = roundTripMs;
  }

  refused(): void {
    // Of what is published; what is subscribed to is told by the subscription.
  }

  async close(): Promise<void> {
    this.#setStatus("closed");
    this.#notifications$.complete();
    this.#latest$.complete();
    this.selection.close();
    this.#parts.publisher.close();
    await this.#parts.shared.detach(this, this.#parts.publisher);
  }

  #settle(problem: string | undefined): void {
    if (problem === undefined) {
      this.#warned = undefined;
      this.#setStatus("listening");
      return;
    }
    if (this.#warned !== problem) this.logger.warn(`${problem}. Waits are found by reading every second.`);
    this.#warned = problem;
    this.#setStatus("polling", problem);
  }

  #receive(payload: string): void {
    const notification = decodePayload(payload);
    if (notification === undefined) {
      this.#invalid += 1;
      return;
    }
    // Whoever may publish could invent a result: where it came from NATS, an entry with a result in it is an id like any other.
    const { inline, taskIds } = notification;
    const ids = inline.length === 0 ? taskIds : [...taskIds, ...inline.map(({ taskId }) => taskId)];
    this.#notifications$.next({ ...notification, taskIds: ids, inline: [] });
  }

  #setStatus(status: ListenStatus, problem?: string): void {
    if (this.#status === "closed") return;
    this.#status = status;
    this.#problem = problem;
    this.#latest$.next(status);
  }
}
