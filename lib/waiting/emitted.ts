import type { Mark } from "./commits";
import type { Snapshot } from "./snapshot";

/**
 * Remembers what a feed has emitted since its cursor, so that nothing is emitted twice: notifications can be sent again, and the next look reads what they told of. A value is known
 * by its key and the transaction that wrote it. Transactions of one key commit in another order than their numbers, so numbers are compared for equality alone.
 */
export class Emitted {
  /** Nearly always one transaction for a key: an array only where there are several. */
  readonly #xids = new Map<string, number | readonly number[]>();

  /** Keys that are remembered. */
  get size(): number {
    return this.#xids.size;
  }

  hasKey(key: string): boolean {
    return this.#xids.has(key);
  }

  has({ key, xid }: Mark): boolean {
    const xids = this.#xids.get(key);
    return typeof xids === "object" ? xids.includes(xid) : xids === xid;
  }

  add({ key, xid }: Mark): void {
    const xids = this.#xids.get(key);
    this.#xids.set(key, xids === undefined ? xid : [...(typeof xids === "number" ? [xids] : xids), xid]);
  }

  /** Forgets what a snapshot includes: nothing of it can look new from there on. */
  forget(snapshot: Snapshot): void {
    for (const [key, xids] of this.#xids) {
      const kept = (typeof xids === "number" ? [xids] : xids).filter((xid) => !snapshot.includes(xid));
      const [only] = kept;
      if (only === undefined) this.#xids.delete(key);
      else this.#xids.set(key, kept.length === 1 ? only : kept);
    }
  }

  clear(): void {
    this.#xids.clear();
  }
}
