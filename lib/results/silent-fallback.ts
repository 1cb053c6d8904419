import { isNotificationFault } from "../database/sql-states";
import { DatabaseError } from "../errors";

/** One write, which notifies unless that would fail it: then it is sent again without its notification, and so are its later attempts. */
export class SilentFallback {
  #isSilent: boolean;

  constructor(isSilent = false) {
    this.#isSilent = isSilent;
  }

  /** Whether the latest attempt went without a notification, so that the rows are still to be announced. */
  get isSilent(): boolean {
    return this.#isSilent;
  }

  send<T>(send: (isSilent: boolean) => Promise<T>): Promise<T> {
    return send(this.#isSilent).catch((error: unknown) => {
      if (this.#isSilent || !(error instanceof DatabaseError && isNotificationFault(error.sqlState))) throw error;
      // A result is not lost for want of a notification.
      this.#isSilent = true;
      return send(true);
    });
  }
}
