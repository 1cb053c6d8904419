import { areSameValues, type SessionConfig } from "../database/session-config";
import { type ListenClient, type ListenTimes, SharedListener } from "./shared-listener";

/**
 * The listeners of a process. Clients share one only if their configurations are certain to lead to the same database as
 * the same user; where that cannot be told, as with two functions, each has a listener of its own.
 */
export class ListenerRegistry {
  /** Each with the identity of the configuration at the time it was made: the environment can change. */
  readonly #identities = new Map<SharedListener, object | undefined>();

  /** Attaches a client to a listener that fits, or to a new one. */
  attach(client: ListenClient, config: SessionConfig, times: ListenTimes): SharedListener {
    const identity = config.identity();
    const listener = this.#find(identity) ?? new SharedListener(config, times);
    if (!this.#identities.has(listener)) this.#identities.set(listener, identity);
    listener.attach(client);
    return listener;
  }

  /** Detaches a client; the last one ends the listener. */
  async detach(client: ListenClient, listener: SharedListener): Promise<void> {
    const ended = listener.detach(client);
    // Before anything is awaited: a backend that is made meanwhile must not attach to a listener that is ending.
    if (listener.clientCount === 0) this.#identities.delete(listener);
    await ended;
  }

  #find(identity: object | undefined): SharedListener | undefined {
    if (identity === undefined) return undefined;
    for (const [listener, other] of this.#identities) if (areSameValues(identity, other)) return listener;
    return undefined;
  }
}
