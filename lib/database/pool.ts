/**
 * A pool of connections, as far as this package needs it: the `Pool` of `pg`, of any version and with any types, or one that has the same methods.
 */
export interface ConnectionPool {
  /** Gives a connection by promise; a pool that also takes a callback, as that of `pg` does, is given one. */
  connect(): Promise<PooledConnection>;
  /** How its connections are made. Without it LISTEN needs an address of its own: `listen: { connection }`. */
  readonly options?: object;
  /** Whether the application has begun to end it. */
  readonly ending?: boolean;
}

/** A connection that a {@link ConnectionPool} lends. */
export interface PooledConnection {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: object[] }>;
  /** Gives it back; with `true`, to be closed. */
  release(destroy?: boolean): void;
}
