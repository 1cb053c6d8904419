import { typeName } from "../value/arguments";

/**
 * Throws unless `signal` is left out or works as an `AbortSignal`. Not `instanceof`: jsdom, polyfills, and other realms
 * such as that of Jest have classes of their own.
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

/** Returns the reason of an aborted signal. Polyfills have none; the standard's default takes its place. */
export const reasonOf = (signal: AbortSignal): unknown =>
  signal.reason === undefined ? new DOMException("This operation was aborted", "AbortError") : signal.reason;

/** Works like `signal.throwIfAborted()`, which polyfills lack. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw reasonOf(signal);
}
