import { typeName } from "../value/arguments";

/**
 * Throws unless `signal` is left out, or can be used as an `AbortSignal`. Not `instanceof`: jsdom, polyfills, and other realms such as that of Jest
 * have classes of their own.
 */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || isSignal(signal)) return;
  throw new TypeError(`signal: expected an AbortSignal, got ${typeName(signal)}.`);
}

function isSignal(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
  return (
    typeof aborted === "boolean" && typeof addEventListener === "function" && typeof removeEventListener === "function"
  );
}

/** What a call rejects with once its signal has aborted. Polyfills have no reason; the standard's default is then given. */
export const reasonOf = (signal: AbortSignal): unknown =>
  signal.reason === undefined ? new DOMException("This operation was aborted", "AbortError") : signal.reason;

/** As `signal.throwIfAborted()`, which polyfills do not have either. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw reasonOf(signal);
}

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
