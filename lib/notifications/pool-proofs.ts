import { Heartbeat, type Proof } from "./heartbeat";

/** A way to notify: the pool of a backend. */
export interface NotifyingPool {
  /** Notifies through the pool; bounded in time. */
  notify(channel: string, payload: string): Promise<void>;
}

/**
 * Proves a connection through any pool of those that share it. One pool is asked at a time, in turn; the others only if
 * it gives no proof, since each notification wakes every listener of the database. Knows the pools whose notifications do
 * not arrive although those of another one do: they reach another server.
 */
export class PoolProofs<Pool extends NotifyingPool> {
  readonly #channel: string;
  readonly #onElsewhere: (pool: Pool) => void;
  readonly #heartbeat = new Heartbeat();
  readonly #proven = new Set<Pool>();
  readonly #elsewhere = new Set<Pool>();

  /** `channel` is that of the heartbeats; `onElsewhere` is called when a pool turns out to reach another server. */
  constructor(channel: string, onElsewhere: (pool: Pool) => void) {
    this.#channel = channel;
    this.#onElsewhere = onElsewhere;
  }

  receive(nonce: string): void {
    this.#heartbeat.receive(nonce);
  }

  /** Whether notifications of `pool` do not arrive, although those of another pool do. */
  isElsewhere(pool: Pool): boolean {
    return this.#elsewhere.has(pool);
  }

  forget(pool: Pool): void {
    this.#proven.delete(pool);
    this.#elsewhere.delete(pool);
  }

  /** Ends the proofs that are under way. What was known of the pools was about the connection that is over. */
  reset(): void {
    this.#heartbeat.cancel();
    this.#proven.clear();
    this.#elsewhere.clear();
  }

  async prove(pools: readonly Pool[], timeoutMs: number): Promise<Proof> {
    // The pool that was not asked for the longest time, and each of those that are to be known again.
    const first = pools.find((pool) => !this.#proven.has(pool)) ?? pools[0];
    const chosen = pools.filter((pool) => pool === first || this.#elsewhere.has(pool));
    const rest = pools.filter((pool) => !chosen.includes(pool));
    const verdicts = await this.#proveEach(chosen, timeoutMs);
    if (best(verdicts).verdict !== "alive" && rest.length > 0)
      for (const [pool, proof] of await this.#proveEach(rest, timeoutMs)) verdicts.set(pool, proof);
    const proof = best(verdicts);
    for (const [pool, { verdict }] of verdicts) {
      if (verdict === "alive") this.#elsewhere.delete(pool);
      else if (proof.verdict === "alive" && verdict === "deaf" && !this.#elsewhere.has(pool)) {
        this.#elsewhere.add(pool);
        this.#onElsewhere(pool);
      }
    }
    if (first !== undefined) this.#proven.add(first);
    if (pools.every((pool) => this.#proven.has(pool))) this.#proven.clear();
    return proof;
  }

  async #proveEach(pools: readonly Pool[], timeoutMs: number): Promise<Map<Pool, Proof>> {
    const prove = async (pool: Pool): Promise<[Pool, Proof]> => [
      pool,
      await this.#heartbeat.prove(async (nonce) => pool.notify(this.#channel, nonce), timeoutMs),
    ];
    return new Map(await Promise.all(pools.map(prove)));
  }
}

/** One pool whose nonce arrives proves the connection; one that is refused by the server speaks for all the others. */
function best(proofs: ReadonlyMap<unknown, Proof>): Proof {
  const all = [...proofs.values()];
  const find = (verdict: Proof["verdict"]): Proof | undefined => all.find((proof) => proof.verdict === verdict);
  return find("alive") ?? find("blocked") ?? find("deaf") ?? { verdict: "unproven" };
}
