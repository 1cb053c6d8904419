import type { QueryResult } from "pg";
import { longestTimerMs, typeName } from "../value/arguments";
import { requestCancel } from "./cancel-request";
import { sqlStateOf } from "./sql-states";

/**
 * Time beyond the driver's own limit after which an answer is given up, since a wrapper around `query` may ignore that
 * limit.
 */
const graceMs = 100;
/**
 * Interval at which to check if a pool is being ended. A pool of `pg` then never answers a request for a connection.
 */
const endingCheckMs = 500;

/** A pool of connections: the `Pool` of `pg`, of any version and with any types, or an object with the same methods. */
export interface ConnectionPool {
  /** Returns a connection by promise. A pool that also accepts a callback, as that of `pg` does, receives one. */
  connect(): Promise<PooledConnection>;
  /** The configuration of its connections. Without it LISTEN needs an address of its own: `listen: { connection }`. */
  readonly options?: object;
  /** The application has begun to end the pool. */
  readonly ending?: boolean;
  /** Number of requests for a connection that the pool has yet to answer. */
  readonly waitingCount?: number;
}

/**
 * Throws unless `pool` can be a pool of connections. Not `instanceof Pool`: an application may have a copy of `pg` of
 * its own.
 */
export function checkPool(pool: unknown): asserts pool is ConnectionPool {
  if (typeof (pool as Partial<ConnectionPool> | undefined)?.connect !== "function")
    throw new TypeError(`pool: expected a Pool of pg, got ${typeName(pool)}.`);
}

/** A connection that a {@link ConnectionPool} lends. */
export interface PooledConnection {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: object[] }>;
  /** Returns the connection to its pool; with `true`, to be closed. */
  release(destroy?: boolean): void;
}

export interface Statement {
  readonly text: string;
  readonly values?: unknown[];
  readonly name?: string | undefined;
  readonly rowMode?: "array";
}

/**
 * A client that a pool lends. The application may have wrapped its methods. Optional members have no public name in
 * `pg`.
 */
interface LentClient {
  binary?: boolean;
  /** Sends a statement without waiting for the answer to the one before. */
  readonly pipeline?: boolean;
  readonly processID?: number | null;
  readonly connection?: {
    readonly stream?: { readonly bytesRead?: number; unref?: () => void; cork?: () => void; uncork?: () => void };
  };
  /** Answers by callback, by promise, or by both. */
  query(config: object, callback: (error: Error | null | undefined, result: QueryResult) => void): unknown;
  /** Each loan may have its own. */
  release: (destroy?: boolean) => void;
  end(done?: () => void): Promise<void>;
  /** Lets the process end although the client is connected, until `ref` is called. */
  unref?(): void;
  ref?(): void;
  on?(event: "error", listener: () => void): void;
  removeListener?(event: "error", listener: () => void): void;
  removeAllListeners?(event: "error"): void;
}

const ignore = (): void => undefined;

/**
 * Takes a connection from a pool, or rejects after `timeoutMs`: a pool without `connectionTimeoutMillis`, or one that
 * is ended meanwhile, would wait for ever. A client that arrives too late is returned at once.
 */
export function checkOut(pool: ConnectionPool, timeoutMs: number): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const dueAt = performance.now() + timeoutMs;
    let isSettled = false;
    let given: { readonly client: LentClient; readonly release: LentClient["release"] } | undefined;
    const fail = (error: Error): void => {
      isSettled = true;
      clearTimeout(timer);
      reject(error);
    };
    const take = (client: LentClient): void => {
      // The client may arrive both by callback and by promise. If its `release` is another one, it was returned and is
      // lent again.
      if (client === given?.client && client.release === given.release) return;
      given ??= { client, release: client.release };
      if (isSettled) {
        client.release();
        return;
      }
      isSettled = true;
      clearTimeout(timer);
      resolve(new Connection(pool, client));
    };
    const check = (): void => {
      const leftMs = dueAt - performance.now();
      if (pool.ending === true) fail(new Error("The pool was ended before it gave a connection."));
      else if (leftMs <= 0) fail(new Error(`No connection from the pool within ${Math.round(timeoutMs)} ms.`));
      else timer = setTimeout(check, Math.min(leftMs, endingCheckMs)).unref();
    };
    // This timer need not keep the process alive: the sockets of a pool that is not ended do.
    let timer = setTimeout(check, Math.min(timeoutMs, endingCheckMs)).unref();
    try {
      connect(pool, take, fail);
    } catch (error) {
      fail(error as Error);
    }
  });
}

/**
 * Calls `take` synchronously when the pool hands over a client. A promise would continue slightly later, and if the
 * server dies in between, an error event without a listener would end the process. Some pools answer only by promise.
 */
function connect(pool: ConnectionPool, take: (client: LentClient) => void, fail: (error: Error) => void): void {
  const { connect: call } = pool as { connect: (callback: (error?: Error, client?: LentClient) => void) => unknown };
  const connecting = call.call(pool, (error, client) => {
    if (client === undefined) fail(error ?? new Error("The pool gave no connection."));
    else take(client);
  });
  if (!isThenable(connecting)) return;
  connecting.then((client) => {
    if (isObject(client)) take(client as LentClient);
  }, fail);
}

/** A connection while this package has it from a pool. */
export class Connection {
  readonly #pool: ConnectionPool;
  readonly #client: LentClient;
  /** The client asks for the binary format, which the driver reads as UTF-8. That destroys numbers. */
  readonly #isBinary: boolean;
  #isLost = false;
  #hasFailed = false;
  #held: Promise<void> | undefined;
  #cancelling: Promise<void> | undefined;

  constructor(pool: ConnectionPool, client: LentClient) {
    this.#pool = pool;
    this.#client = client;
    this.#isBinary = client.binary === true;
    if (this.#isBinary) client.binary = false;
    client.on?.("error", this.#onError);
  }

  /**
   * Set once a statement was left unanswered or a transaction unfinished, so that the connection cannot be used again.
   */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** The process number of the session as the driver knows it; undefined where the driver does not. */
  get processId(): number | undefined {
    return this.#client.processID ?? undefined;
  }

  /** Whether two statements can be under way at a time. */
  get canPipeline(): boolean {
    return this.#client.pipeline === true;
  }

  /** Resolves once the connection may be returned; undefined if it may be at any time. */
  get held(): Promise<void> | undefined {
    return this.#held;
  }

  /** Has the connection wait for an answer, and for earlier ones, before it is returned. */
  holdUntil(answered: Promise<unknown>): void {
    const settled = answered.then(ignore, ignore);
    this.#held = this.#held === undefined ? settled : Promise.all([this.#held, settled]).then(ignore);
  }

  /** Sends in one piece, as far as the driver allows, what `send` gives to it. */
  together<T>(send: () => T): T {
    const stream = this.#client.connection?.stream;
    stream?.cork?.();
    try {
      return send();
    } finally {
      stream?.uncork?.();
    }
  }

  /**
   * Sends a statement, and rejects after `limitMs`. With `isPaced` the limit restarts as long as bytes arrive, for
   * large answers over slow links. A `query` that the application has wrapped may throw, answer twice, or never answer.
   */
  async ask(statement: Statement, limitMs: number, isPaced = false): Promise<QueryResult> {
    if (this.#isLost) throw new Error("The connection was given up.");
    let stop = ignore;
    const { name, text, values, rowMode } = statement;
    // Where statements are pipelined, the driver's own limit would destroy the socket before a cancel request.
    const driverLimitMs = isPaced || this.canPipeline ? undefined : limitMs;
    // Not a spread of the statement, which takes longer.
    const config = { name, text, values, rowMode, query_timeout: driverLimitMs, types: rawValues };
    const answered = new Promise<QueryResult>((resolve, reject) => {
      const late = (): void => reject(new Error("Query read timeout"));
      stop = isPaced ? this.#whenStalled(limitMs, late) : after(limitMs + (this.canPipeline ? 0 : graceMs), late);
      const answering = this.#client.query(config, (error, result) => {
        if (error) reject(error);
        else resolve(result);
      });
      const refuse = (error?: Error): void => reject(error ?? new Error("The query was rejected without a reason."));
      if (isThenable(answering))
        answering.then((result) => {
          if (isObject(result)) resolve(result as QueryResult);
        }, refuse);
    });
    try {
      return await answered;
    } catch (error) {
      if (sqlStateOf(error) === undefined) this.#isLost = true;
      throw error;
    } finally {
      stop();
    }
  }

  /** Gives up the connection: nothing more is sent on it, and its session ends without an answer. */
  lose(): void {
    this.#isLost = true;
  }

  /**
   * Asks the server to cancel the connection's statement, and resolves when that has been tried. The connection is
   * closed when it is released, since the request may arrive late.
   */
  async cancel(): Promise<void> {
    const { stream } = (this.#pool.options ?? {}) as { readonly stream?: unknown };
    this.#cancelling ??= requestCancel(this.#client, stream);
    return this.#cancelling;
  }

  /** Returns the connection to its pool; one that is not usable is closed. */
  release(isUsable: boolean): void {
    const client = this.#client;
    if (this.#cancelling !== undefined) {
      this.#closeAfter(this.#cancelling);
    } else if (isUsable && !this.#isLost) {
      if (this.#isBinary) client.binary = true;
      client.removeListener?.("error", this.#onError);
      client.release();
    } else {
      client.release(true);
      this.destroy();
    }
  }

  /** Lets the process end while the connection is kept for later. Returns false if it must go back to its pool. */
  rest(): boolean {
    if (this.#isLost || this.#hasFailed || this.#cancelling !== undefined) return false;
    this.#held = undefined;
    this.#client.unref?.();
    return true;
  }

  /** Ends what {@link Connection.rest} began. Returns false if the session has ended meanwhile. */
  resume(): boolean {
    this.#client.ref?.();
    return !this.#hasFailed;
  }

  destroy(): void {
    destroySocket(this.#client);
  }

  /** Without a listener, an error event would end the process. */
  readonly #onError = (): void => {
    this.#hasFailed = true;
  };

  /**
   * Returns the connection at once and closes it later, since a pooler cannot cancel the statement of a client that has
   * disconnected.
   */
  #closeAfter(cancelling: Promise<void>): void {
    const client = this.#client;
    // Replaces the driver's `end`, which would destroy the socket.
    client.end = async (done?: () => void) => Promise.resolve(done?.());
    client.release(true);
    // Also removes the pool's listener, which would report the loss of a connection that it no longer has.
    client.removeAllListeners?.("error");
    client.on?.("error", ignore);
    client.connection?.stream?.unref?.();
    void cancelling.then(() => this.destroy());
  }

  /**
   * Calls `late` once nothing has arrived for `limitMs` to twice that time, or exactly at the limit if the application
   * ends its pool.
   */
  #whenStalled(limitMs: number, late: () => void): () => void {
    const bytesRead = (): number | undefined => this.#client.connection?.stream?.bytesRead;
    let before = bytesRead();
    const timer = setInterval(() => {
      const now = bytesRead();
      if (now === before || this.#pool.ending === true) late();
      before = now;
    }, limitMs);
    return () => clearInterval(timer);
  }
}

function after(delayMs: number, act: () => void): () => void {
  const timer = setTimeout(act, Math.min(delayMs, longestTimerMs)).unref();
  return () => clearTimeout(timer);
}

/**
 * Destroys the socket of a client. The driver would ask the peer to end the connection, and wait for ever without an
 * answer.
 */
export function destroySocket(client: object): void {
  (client as { connection?: { stream?: { destroy?: () => void } } }).connection?.stream?.destroy?.();
}

/**
 * Decodes numbers that a double holds exactly, and booleans; everything else stays text. Replaces the parsers that an
 * application may have given to `pg.types` or to its pool.
 */
const rawValues = {
  getTypeParser(typeId: number): (value: string) => unknown {
    if (typeId === booleanId) return (value) => value === "t";
    return numberIds.has(typeId) ? Number : String;
  },
};

// PostgreSQL source, pg_type.dat: bool; int2, int4, oid, float4, float8.
const booleanId = 16;
const numberIds: ReadonlySet<number> = new Set([21, 23, 26, 700, 701]);

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  isObject(value) && typeof (value as Partial<PromiseLike<unknown>>).then === "function";
