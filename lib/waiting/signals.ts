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
