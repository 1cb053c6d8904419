import { createHash } from "node:crypto";
import { sqlStates } from "./sql-states";

/**
 * Names for prepared statements, which the server parses once per connection. This saves about 0.07 of 0.45 ms for a
 * store, and the same of 0.2 ms for a read. Stops once a pooler turns out to switch sessions.
 */
export class PreparedNames {
  readonly #names = new Map<string, string>();
  #isAllowed: boolean;

  constructor(isAllowed: boolean) {
    this.#isAllowed = isAllowed;
  }

  /**
   * Returns the name for a statement, or undefined if it must not be prepared. The name is derived from the text, so no
   * other statement has it.
   */
  nameOf(text: string): string | undefined {
    if (!this.#isAllowed) return undefined;
    let name = this.#names.get(text);
    if (name === undefined) {
      name = `kojin_${createHash("sha256").update(text).digest("hex").slice(0, 16)}`;
      this.#names.set(text, name);
    }
    return name;
  }

  /**
   * Tells whether an error means that a pooler has switched sessions. Then nothing was executed, and no more statements
   * are prepared.
   */
  isLost(sqlState: string | undefined): boolean {
    const isLost = sqlState !== undefined && otherSessionStates.has(sqlState);
    if (isLost) this.#isAllowed = false;
    return isLost;
  }
}

const otherSessionStates: ReadonlySet<string> = new Set([
  sqlStates.undefinedStatement,
  sqlStates.duplicateStatement,
  sqlStates.featureNotSupported,
]);
