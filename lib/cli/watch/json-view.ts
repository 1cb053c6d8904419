import type { Session } from "../session";
import type { WatchEvent, WatchView } from "./events";

/** One object a line. */
export class JsonView implements WatchView {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  show(event: WatchEvent): void {
    this.#session.printJson(event);
  }

  close(): void {
    // Each line is complete.
  }
}
