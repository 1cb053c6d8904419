import { reasonOf } from "./signals";

/** Something that an `AbortSignal` can end. */
export interface Abortable {
  error(reason: unknown): void;
}

/**
 * One listener on each signal, however many waits it governs: a request's signal may end hundreds, and Node warns of a leak at the eleventh listener. A signal
 * is let go of with its last wait.
 */
export class Aborts {
  readonly #groups = new Map<AbortSignal, { readonly entries: Set<Abortable>; readonly onAbort: () => void }>();

  add(signal: AbortSignal, entry: Abortable): void {
    const present = this.#groups.get(signal);
    if (present !== undefined) {
      present.entries.add(entry);
      return;
    }
    const entries = new Set([entry]);
    const onAbort = (): void => {
      const reason = reasonOf(signal);
      // A copy, since each entry removes itself.
      for (const each of [...entries]) each.error(reason);
    };
    this.#groups.set(signal, { entries, onAbort });
    signal.addEventListener("abort", onAbort);
  }

  remove(signal: AbortSignal, entry: Abortable): void {
    const group = this.#groups.get(signal);
    if (group === undefined || !group.entries.delete(entry) || group.entries.size > 0) return;
    this.#groups.delete(signal);
    signal.removeEventListener("abort", group.onAbort);
  }
}
