import { randomBytes } from "node:crypto";
import { withTimeLimit } from "../database/race";
import { isNotificationFault } from "../database/sql-states";
import { DatabaseError } from "../errors";

/**
 * Outcome of a heartbeat. `received`: it arrived. `missed`: it was sent and did not arrive. `blocked`: the server takes
 * no notifications at present; its queue is full, or their lock is held. `unsent`: the pool could not send it, which
 * says nothing about the listener.
 */
export type HeartbeatOutcome =
  | { readonly verdict: "received"; readonly roundTripMs: number }
  | { readonly verdict: "missed" | "blocked" | "unsent" };

/** Sends heartbeats through the pool of a backend. */
export interface HeartbeatSender {
  /** Notifies `channel`. Bounded in time. */
  notify(channel: string, payload: string): Promise<void>;
}

/**
 * Tests a listener end to end: a pool notifies a nonce, which must arrive at the listener. A `select 1` on the listener
 * would test its socket, but not that it still listens, or that the pool writes to the same server.
 *
 * Backends that share a listener take turns, each with its own pool. The others try only if a heartbeat does not
 * arrive, since each notification wakes every listener of the database.
 */
export class Heartbeat {
  /** Belongs to this heartbeat alone. */
  readonly channel = `kojin_hb_${randomBytes(8).toString("hex")}`;
  readonly #awaited = new Map<string, (verdict: "received" | "unsent") => void>();
  /** Senders that have had their turn in this round. */
  readonly #asked = new Set<HeartbeatSender>();
  /** Senders whose heartbeats do not arrive although those of another sender do. */
  readonly #elsewhere = new Set<HeartbeatSender>();

  /** Takes a payload that arrived on the channel. Ignores payloads that are not awaited. */
  receive(nonce: string): void {
    this.#awaited.get(nonce)?.("received");
  }

  /** Tells whether the pool of `sender` reaches another server than the listener. */
  isElsewhere(sender: HeartbeatSender): boolean {
    return this.#elsewhere.has(sender);
  }

  forget(sender: HeartbeatSender): void {
    this.#asked.delete(sender);
    this.#elsewhere.delete(sender);
  }

  /** Ends running heartbeats, and forgets their outcomes, after a connection is lost. */
  reset(): void {
    for (const settle of this.#awaited.values()) settle("unsent");
    this.#asked.clear();
    this.#elsewhere.clear();
  }

  /** Tests the listener. The time limit counts from when the heartbeat is sent. */
  async test(senders: readonly HeartbeatSender[], timeoutMs: number): Promise<HeartbeatOutcome> {
    const first = senders.find((sender) => !this.#asked.has(sender)) ?? senders[0];
    const chosen = senders.filter((sender) => sender === first || this.#elsewhere.has(sender));
    const outcomes = await this.#sendAll(chosen, timeoutMs);
    if (overall(outcomes).verdict !== "received") {
      const rest = senders.filter((sender) => !chosen.includes(sender));
      for (const [sender, outcome] of await this.#sendAll(rest, timeoutMs)) outcomes.set(sender, outcome);
    }
    const outcome = overall(outcomes);
    for (const [sender, { verdict }] of outcomes) {
      if (verdict === "received") this.#elsewhere.delete(sender);
      else if (verdict === "missed" && outcome.verdict === "received") this.#elsewhere.add(sender);
    }
    if (first !== undefined) this.#asked.add(first);
    if (senders.every((sender) => this.#asked.has(sender))) this.#asked.clear();
    return outcome;
  }

  async #sendAll(
    senders: readonly HeartbeatSender[],
    timeoutMs: number,
  ): Promise<Map<HeartbeatSender, HeartbeatOutcome>> {
    const send = async (sender: HeartbeatSender): Promise<[HeartbeatSender, HeartbeatOutcome]> => [
      sender,
      await this.#send(sender, timeoutMs),
    ];
    return new Map(await Promise.all(senders.map(send)));
  }

  async #send(sender: HeartbeatSender, timeoutMs: number): Promise<HeartbeatOutcome> {
    const nonce = randomBytes(8).toString("hex");
    const startedAt = performance.now();
    const settled = new Promise<"received" | "unsent">((settle) => this.#awaited.set(nonce, settle));
    try {
      await Promise.race([sender.notify(this.channel, nonce), settled]);
      const verdict = await withTimeLimit<"received" | "unsent" | "missed">(settled, timeoutMs, () => "missed");
      return verdict === "received" ? { verdict, roundTripMs: performance.now() - startedAt } : { verdict };
    } catch (error) {
      const isBlocked = error instanceof DatabaseError && isNotificationFault(error.sqlState);
      return { verdict: isBlocked ? "blocked" : "unsent" };
    } finally {
      this.#awaited.delete(nonce);
    }
  }
}

/** One heartbeat that arrives proves the connection. If the server refuses one, it would refuse the others as well. */
function overall(outcomes: ReadonlyMap<HeartbeatSender, HeartbeatOutcome>): HeartbeatOutcome {
  const all = [...outcomes.values()];
  const find = (verdict: HeartbeatOutcome["verdict"]): HeartbeatOutcome | undefined =>
    all.find((outcome) => outcome.verdict === verdict);
  return find("received") ?? find("blocked") ?? find("missed") ?? { verdict: "unsent" };
}
