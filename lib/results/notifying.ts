import { isNotificationFault } from "../database/sql-states";
import { DatabaseError } from "../errors";

/** The notification of one write. Where it would fail the write, that is sent again without it, and so are its later attempts: a result is not lost for want of a notification. */
export class Notifying {
  #notifies: boolean;

  constructor(notifies: boolean) {
    this.#notifies = notifies;
  }

  /** Whether the latest attempt notified listeners. Otherwise the rows are still to be announced. */
  get notified(): boolean {
    return this.#notifies;
  }

  send<T>(send: (notifies: boolean) => Promise<T>): Promise<T> {
    return send(this.#notifies).catch((error: unknown) => {
      if (!this.#notifies || !(error instanceof DatabaseError && isNotificationFault(error.sqlState))) throw error;
      this.#notifies = false;
      return send(false);
    });
  }
}
