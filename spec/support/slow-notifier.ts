import type { NotificationPublisher } from "kojin-postgres/notifier";
import { BaseNotificationSource } from "../../lib/notifications/notification-source";

/** Listens at once, and receives what it is told to. */
export class ListeningSource extends BaseNotificationSource {
  protected onDemand(): void {
    this.setStatus("listening");
  }
}

/** Writes down what it is to announce, and has it confirmed when it is told to. */
export class SlowPublisher implements NotificationPublisher {
  readonly told: string[] = [];
  #confirm: () => void = () => undefined;

  announce(name: string, ids: Iterable<string>): void {
    const list = [...ids];
    if (list.length > 0) this.told.push(`${name} ${list.join(" ")}`);
  }

  rescan(): void {
    this.told.push("rescan");
  }

  async drain(): Promise<void> {
    await new Promise<void>((resolve) => (this.#confirm = resolve));
  }

  /** Confirms what is under way, and lets what follows be told. */
  async confirm(): Promise<void> {
    this.#confirm();
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  }
}
