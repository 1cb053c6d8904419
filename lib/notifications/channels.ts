/** The part of a connection that channels need. Either call fails only where the connection is of no further use. */
export interface ChannelConnection {
  listen(channel: string): Promise<void>;
  unlisten(channel: string): Promise<void>;
}

/** `listening`: LISTEN is under way. `confirmed`: the server has confirmed it. `unlistening`: UNLISTEN is under way. */
type ChannelState = "listening" | "confirmed" | "unlistening";

/**
 * The channels of one connection, each with one state. LISTEN and UNLISTEN are sent one after another, until the
 * connection listens to the wanted channels and to no other: a channel can be wanted again while its UNLISTEN is under
 * way, and unwanted while its LISTEN is.
 */
export class Channels {
  readonly #connection: ChannelConnection;
  readonly #wanted: () => ReadonlySet<string>;
  readonly #onConfirmed: () => void;
  /** Without the channels that are neither listened to nor about to be. */
  readonly #states = new Map<string, ChannelState>();
  #syncing: Promise<void> | undefined;

  constructor(connection: ChannelConnection, wanted: () => ReadonlySet<string>, onConfirmed: () => void) {
    this.#connection = connection;
    this.#wanted = wanted;
    this.#onConfirmed = onConfirmed;
  }

  isConfirmed(channel: string): boolean {
    return this.#states.get(channel) === "confirmed";
  }

  /** Resolves once the connection listens to what is wanted; rejects with its first failure. */
  async sync(): Promise<void> {
    if (this.#syncing === undefined && this.#next() === undefined) return;
    this.#syncing ??= this.#sync();
    await this.#syncing;
  }

  async #sync(): Promise<void> {
    try {
      for (let send = this.#next(); send !== undefined; send = this.#next()) await send();
    } finally {
      // Synchronously after the last look: what is wanted from here on starts it anew.
      this.#syncing = undefined;
    }
  }

  /** The statement that is due, if any. */
  #next(): (() => Promise<void>) | undefined {
    const wanted = this.#wanted();
    for (const channel of wanted) if (!this.#states.has(channel)) return async () => this.#listen(channel);
    for (const channel of this.#states.keys()) if (!wanted.has(channel)) return async () => this.#unlisten(channel);
    return undefined;
  }

  async #listen(channel: string): Promise<void> {
    this.#states.set(channel, "listening");
    await this.#connection.listen(channel);
    this.#states.set(channel, "confirmed");
    this.#onConfirmed();
  }

  async #unlisten(channel: string): Promise<void> {
    this.#states.set(channel, "unlistening");
    await this.#connection.unlisten(channel);
    this.#states.delete(channel);
  }
}
