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
  #fail: (error: Error) => void = () => undefined;

  announce(name: string, ids: Iterable<string>): void {
    const list = [...ids];
    if (list.length > 0) this.told.push(`${name} ${list.join(" ")}`);
  }

  rescan(): void {
    this.told.push("rescan");
  }

  async drain(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#confirm = resolve;
      this.#fail = reject;
    });
  }

  /** Confirms what is under way, and lets what follows be told. */
  async confirm(): Promise<void> {
    this.#confirm();
    await this.#settle();
  }

  /** Fails what is under way. */
  async fail(): Promise<void> {
    this.#fail(new Error("no carrier"));
    await this.#settle();
  }

  async #settle(): Promise<void> {
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  }
}
