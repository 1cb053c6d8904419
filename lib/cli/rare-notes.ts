import type { Session } from "./session";

/** Shortest time between two notes about the same step. */
const noteIntervalMs = 2_000;

/** Notes the progress of a step at its beginning, and then from time to time. */
export class RareNotes {
  readonly #session: Session;
  #step = "";
  #notedAt = performance.now();

  constructor(session: Session) {
    this.#session = session;
  }

  show(step: string, text: string): void {
    if (step === this.#step && performance.now() - this.#notedAt < noteIntervalMs) return;
    [this.#step, this.#notedAt] = [step, performance.now()];
    this.#session.note(text);
  }
}
