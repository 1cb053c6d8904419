import type { Logger } from "../logger";
import { BaseNotificationSource } from "../notifications/notification-source";
import type { ListenReport } from "../notifications/notifier";
import type { Notification } from "../notifications/payload";
import type { NatsConnection, NatsLink, NatsMember } from "./nats-connection";
import type { NatsPublisher } from "./nats-publisher";
import type { Subjects } from "./options";
import { NatsSubscriptions } from "./subscriptions";

/** Receives notifications over NATS. */
export class NatsNotifications extends BaseNotificationSource implements NatsMember {
  readonly selection: NatsSubscriptions;
  readonly logger: Pick<Logger, "info" | "warn">;
  readonly #connection: NatsConnection;
  readonly #publisher: NatsPublisher;
  /** Connection on which it is subscribed or subscribing. */
  #link: NatsLink | undefined;
  #warned: string | undefined;

  /** `publisher` belongs to the same backend, and is closed with the source. */
  constructor(connection: NatsConnection, subjects: Subjects, publisher: NatsPublisher) {
    super();
    this.#connection = connection;
    this.#publisher = publisher;
    this.logger = publisher.logger;
    this.selection = new NatsSubscriptions(subjects, (payload) => this.receive(payload));
    this.selection.settled$.subscribe((problem) => this.#settle(problem));
  }

  override get report(): ListenReport {
    const report = super.report;
    return { ...report, problem: report.problem ?? this.#publisher.problem };
  }

  connected(link: NatsLink): void {
    if (this.#link === link) return;
    // A process that only stores subscribes to nothing.
    if (!this.isActive) {
      this.idle();
      return;
    }
    this.#link = link;
    this.setStatus("connecting");
    this.selection.attach(link);
  }

  disconnected(problem: string, link?: NatsLink): void {
    if (this.#link !== undefined) {
      this.#link = undefined;
      this.countReconnect();
      this.selection.detach();
    }
    if (this.report.status !== "idle") this.setStatus(link === undefined ? "polling" : "connecting", problem);
  }

  idle(): void {
    this.setStatus("idle");
  }

  override async close(): Promise<void> {
    await super.close();
    this.selection.close();
    this.#publisher.close();
    await this.#connection.detach(this, this.#publisher);
  }

  protected onDemand(): void {
    const { session, problem } = this.#connection;
    if (session !== undefined) this.connected(session);
    else if (this.report.status === "idle") this.setStatus(problem === undefined ? "connecting" : "polling", problem);
    this.#connection.start();
  }

  protected override get heartbeatMs(): number | undefined {
    return this.#connection.roundTripMs;
  }

  /** Anyone who may publish could invent a result, so an entry with a result is treated as an id. */
  protected override accept(notification: Notification): Notification {
    const { inline, taskIds } = notification;
    if (inline.length === 0) return notification;
    return { ...notification, taskIds: [...taskIds, ...inline.map(({ taskId }) => taskId)], inline: [] };
  }

  #settle(problem: string | undefined): void {
    if (problem !== undefined && problem !== this.#warned) this.logger.warn(`${problem}. Waits poll every second.`);
    this.#warned = problem;
    if (problem === undefined) this.setStatus("listening");
    else this.setStatus("polling", problem);
  }
}
