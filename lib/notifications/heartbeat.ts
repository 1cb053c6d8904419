import { randomBytes } from "node:crypto";
import { withTimeLimit } from "../database/race";
import { isNotificationFault } from "../database/sql-states";
import { DatabaseError } from "../errors";

/**
 * `alive`: the nonce came back. `deaf`: it was sent, and did not. `blocked`: the server takes no notification at present, from anybody: its queue is full, or
 * somebody holds its lock. `unproven`: it could not be sent, which says nothing about the listener.
 */
export type Proof =
  { readonly verdict: "alive"; readonly roundTripMs: number } | { readonly verdict: "deaf" | "blocked" | "unproven" };

/**
 * Proves a listener end to end: a nonce is notified through the pool and has to arrive at the listener. A `select 1` on the listener would prove its socket, but
 * neither that it still listens nor that it is connected to the server the pool writes to.
 */
export class Heartbeat {
  readonly #awaited = new Map<string, (verdict: "alive" | "unproven") => void>();

  /** To be called with each payload that comes in on the heartbeat channel; what anybody else sends there is ignored. */
  receive(nonce: string): void {
    this.#awaited.get(nonce)?.("alive");
  }

  /** Ends the proofs that are under way, unproven. */
  cancel(): void {
    for (const settle of this.#awaited.values()) settle("unproven");
  }

  /** Sends a nonce by `send`, and waits for it until `timeoutMs` have passed since it was sent. */
  async prove(send: (nonce: string) => Promise<void>, timeoutMs: number): Promise<Proof> {
    const nonce = randomBytes(8).toString("hex");
    const startedAt = performance.now();
    const settled = new Promise<"alive" | "unproven">((settle) => this.#awaited.set(nonce, settle));
    try {
      await Promise.race([send(nonce), settled]);
      const verdict = await withTimeLimit<"alive" | "unproven" | "deaf">(settled, timeoutMs, () => "deaf");
      return verdict === "alive" ? { verdict, roundTripMs: performance.now() - startedAt } : { verdict };
    } catch (error) {
      const isBlocked = error instanceof DatabaseError && isNotificationFault(error.sqlState);
      return { verdict: isBlocked ? "blocked" : "unproven" };
    } finally {
      this.#awaited.delete(nonce);
    }
  }
}
