import type { QueryResultRow } from "pg";
import { BackendClosedError, DatabaseError, type ResultBackendError } from "../errors";
import type { SqlClient } from "../result-backend";
import { longestTimerMs } from "../value/arguments";
import { describe, originOf, toBackendError } from "./backend-error";
import { askCaller } from "./caller-client";
import { checkOut, type Connection, type ConnectionPool, type Statement } from "./connection";
import { PreparedNames } from "./prepared-names";
import { settledWithin } from "./race";
import { SpareConnections } from "./spare-connections";
import { type ErrorOrigin, sqlStateOf, sqlStates } from "./sql-states";

export interface Query {
  readonly text: string;
  readonly values: readonly unknown[];
  /** The action, for error messages: "store results". */
  readonly purpose: string;
  /** Prepares the statement, which is sent often and does not depend on its plan. */
  readonly isPrepared?: boolean;
  /** Called once there is a connection, which may take long. Returns the query to send instead of this one, if any. */
  readonly whenSent?: () => Query | undefined;
  /** Restarts the time limit as long as the answer keeps arriving, for reads of large results. */
  readonly isPaced?: boolean;
  /** Sent right behind this query, in the same piece, where the connection can pipeline. */
  readonly followUp?: FollowUp | undefined;
}

/** A statement that is a transaction of its own, whose answer the query before it does not wait for. */
export interface FollowUp {
  readonly query: Query;
  /** Called at once when it is sent, with a promise of its answer, which it has to handle. */
  onSent(answered: Promise<unknown>): void;
}

/** Limits of a transaction, in milliseconds. */
export interface TransactionLimits {
  /** For the whole transaction, including the wait for a connection. */
  readonly timeoutMs: number;
  /** For the answer to `begin`. */
  readonly beginTimeoutMs: number;
  /** For one lock. */
  readonly lockTimeoutMs?: number | undefined;
  /** For one statement, on the server. Default: all the time that is left. */
  readonly statementTimeoutMs?: number | undefined;
  /** A statement that fails if it arrives too late. It is sent together with `commit`, which then has no effect. */
  readonly commitGuard?: string | undefined;
}

/** Wraps an error from before a transaction began: nothing has happened, and another connection may work. */
export class BeginError extends Error {
  override readonly name = "BeginError";
}

/** Longest time that `close` waits for the answers of statements that it has cancelled. */
const lastAnswersMs = 1_000;

/** Reads how full the cluster's notification queue is, 0 to 1, and moves its end up to where every session has read. */
const notifyQueueUsageText = "select pg_catalog.pg_notification_queue_usage()";

/** Runs queries on a pool, each with its own time limit, and converts every error to one of this package. */
export class Database {
  readonly #pool: ConnectionPool;
  readonly #schema: string;
  readonly #names: PreparedNames;
  /** Undefined for a pool that others may use as well. */
  readonly #spare: SpareConnections | undefined;
  readonly #busy = new Set<Connection>();
  readonly #cancelling = new Set<Promise<void>>();
  #onIdle: () => void = () => undefined;
  #isClosed = false;
  #queries = 0;

  /**
   * @param mayPrepare - The pool's connections are sessions of the server, and not of a transaction pooler.
   * @param isOwnPool - Nothing else uses the pool.
   */
  constructor(pool: ConnectionPool, schema: string, mayPrepare = true, isOwnPool = false) {
    this.#pool = pool;
    this.#schema = schema;
    this.#spare = isOwnPool ? new SpareConnections(pool) : undefined;
    this.#names = new PreparedNames(mayPrepare);
  }

  /** Statements sent so far. */
  get queries(): number {
    return this.#queries;
  }

  /**
   * Runs one statement and returns its rows as arrays. Rejects after `timeoutMs` at the latest, and asks the server to
   * cancel the statement; whether it took effect is then unknown.
   *
   * @param limitMs - Time after which the server ends the statement, or earlier if the session has a shorter limit.
   * Takes three round trips, so it is only for statements that are likely to take too long.
   */
  query<Row extends unknown[]>(query: Query, timeoutMs: number, limitMs?: number): Promise<Row[]> {
    // Neither the callback nor the function is async: an async function that returns a promise settles three microtasks
    // after it.
    return this.#withConnection(query.purpose, timeoutMs, (connection, remainingMs) =>
      limitMs === undefined
        ? this.#run<Row>(connection, query.whenSent?.() ?? query, remainingMs)
        : this.#runLimited<Row>(connection, query, limitMs, remainingMs),
    );
  }

  /** Runs one statement on the caller's client, as part of its transaction. */
  async queryWith(client: SqlClient, { purpose, text, values }: Query): Promise<QueryResultRow[]> {
    return askCaller(client, text, values).catch((error: unknown) => {
      throw this.wrap(error, purpose);
    });
  }

  /** Runs `work` in a transaction on one connection. The server ends it by itself if it exceeds the limits. */
  async transaction<T>(
    purpose: string,
    limits: TransactionLimits,
    work: (client: SqlClient) => Promise<T>,
  ): Promise<T> {
    return this.#withConnection(purpose, limits.timeoutMs, async (connection, remainingMs) => {
      const [leftMs, { commitGuard }] = [remainingMs(), limits];
      const text = beginWithin(limits, leftMs);
      await connection.ask({ text }, Math.min(leftMs, limits.beginTimeoutMs)).catch((error: unknown) => {
        throw sqlStateOf(error) === undefined ? new BeginError(describe(error), { cause: error }) : error;
      });
      const commit = commitGuard === undefined ? "commit" : `${commitGuard}; commit`;
      return this.#finish(connection, remainingMs, commit, async () => work(this.#client(connection, remainingMs)));
    });
  }

  /** Runs `work` on one connection, outside a transaction, for statements that cannot run in one. */
  async session<T>(purpose: string, timeoutMs: number, work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#withConnection(purpose, timeoutMs, async (connection, remainingMs) =>
      work(this.#client(connection, remainingMs)),
    );
  }

  /**
   * Runs a statement that only notifies. A full notification queue stays full even after the session that blocked it is
   * gone, until its usage is read (measured on 18.4). The statement is then sent once more.
   */
  async notify(query: Query, timeoutMs: number): Promise<void> {
    const dueAt = performance.now() + timeoutMs;
    try {
      await this.query(query, timeoutMs);
    } catch (error) {
      if (!(error instanceof DatabaseError) || error.sqlState !== sqlStates.programLimitExceeded) throw error;
      const usage = { purpose: query.purpose, text: notifyQueueUsageText, values: [] };
      await this.query(usage, Math.max(1, dueAt - performance.now()));
      await this.query(query, Math.max(1, dueAt - performance.now()));
    }
  }

  /** Tells whether there is a pooler in front of the server: its process numbers differ from those of the sessions. */
  async isPooled(timeoutMs: number): Promise<boolean> {
    return this.#withConnection("look for a pooler", timeoutMs, async (connection, remainingMs) => {
      const { processId } = connection;
      const statement = { text: "select pg_catalog.pg_backend_pid() as pid" };
      const { rows } = await this.#ask(connection, statement, remainingMs());
      return processId !== undefined && (rows as { pid: number }[])[0]?.pid !== processId;
    });
  }

  /** Converts any error of the driver or the server to an error of this package. */
  wrap(error: unknown, purpose: string, origin?: ErrorOrigin): ResultBackendError {
    return toBackendError(error, { purpose, schema: this.#schema, origin, isPoolEnding: this.#pool.ending === true });
  }

  /** Stops sending. Calls that wait for a connection reject, and running statements are cancelled. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#spare?.returnAll();
    const answered = new Promise<void>((resolve) => (this.#onIdle = resolve));
    for (const connection of this.#busy) this.#cancel(connection);
    if (this.#busy.size > 0) await settledWithin(answered, lastAnswersMs);
    // With what they have yet to send.
    for (const connection of this.#busy) connection.destroy();
    await settledWithin(Promise.all(this.#cancelling), lastAnswersMs);
  }

  /** Runs a statement, prepared if that is wanted and works here. */
  async #run<Row extends unknown[]>(connection: Connection, query: Query, remainingMs: () => number): Promise<Row[]> {
    const name = query.isPrepared === true ? this.#names.nameOf(query.text) : undefined;
    const statement: Statement = { name, text: query.text, values: [...query.values], rowMode: "array" };
    const ask = (): ReturnType<Connection["ask"]> => this.#ask(connection, statement, remainingMs(), query.isPaced);
    try {
      const { followUp } = query;
      const answered =
        followUp !== undefined && connection.canPipeline
          ? connection.together(() => this.#askBoth(ask, followUp, connection, remainingMs))
          : ask();
      return (await answered).rows as unknown[] as Row[];
    } catch (error) {
      if (name === undefined || !this.#names.isLost(sqlStateOf(error)) || this.#isClosed) throw error;
      // A pooler has replaced the session in which the statement was prepared.
      return await this.#run(connection, { ...query, isPrepared: false }, remainingMs);
    }
  }

  #askBoth<T>(ask: () => Promise<T>, followUp: FollowUp, connection: Connection, leftMs: () => number): Promise<T> {
    const answered = ask();
    const followed = this.#run(connection, followUp.query, leftMs);
    const isAlive = async (error: unknown): Promise<boolean> =>
      (await originOf(error, async () => connection.ask({ text: "" }, leftMs()))) === "statement";
    // A session that has ended must not be lent again, as to a second attempt.
    const checked = followed.catch(async (error: unknown) => {
      if (!(await isAlive(error))) connection.lose();
      throw error;
    });
    connection.holdUntil(checked);
    followUp.onSent(checked);
    return answered;
  }

  async #runLimited<Row extends unknown[]>(
    connection: Connection,
    query: Query,
    limitMs: number,
    remainingMs: () => number,
  ): Promise<Row[]> {
    await connection.ask({ text: beginLimited(limitMs) }, remainingMs());
    const plain = { ...query, isPrepared: false, isPaced: false };
    return this.#finish(connection, remainingMs, "commit", async () => this.#run<Row>(connection, plain, remainingMs));
  }

  #client(connection: Connection, remainingMs: () => number): SqlClient {
    return {
      query: async (text, values) => {
        if (this.#isClosed) {
          connection.lose();
          throw new BackendClosedError();
        }
        // Without values the simple protocol is used. It accepts several statements at once, as in a migration file.
        return this.#ask(connection, values.length === 0 ? { text } : { text, values: [...values] }, remainingMs());
      },
    };
  }

  /**
   * Runs `work` in a transaction that has begun, and commits it or rolls it back. Sends nothing more on a lost
   * connection.
   */
  async #finish<T>(
    connection: Connection,
    remainingMs: () => number,
    commit: string,
    work: () => Promise<T>,
  ): Promise<T> {
    const client = this.#client(connection, remainingMs);
    try {
      const outcome = await work();
      await client.query(commit, []);
      return outcome;
    } catch (error) {
      if (!connection.isLost) await client.query("rollback", []).catch(() => undefined);
      throw error;
    }
  }

  #ask(
    connection: Connection,
    statement: Statement,
    limitMs: number,
    isPaced?: boolean,
  ): ReturnType<Connection["ask"]> {
    this.#queries += 1;
    return connection.ask(statement, limitMs, isPaced);
  }

  async #withConnection<T>(
    purpose: string,
    timeoutMs: number,
    work: (connection: Connection, remainingMs: () => number) => Promise<T>,
  ): Promise<T> {
    const limitMs = Math.min(timeoutMs, longestTimerMs);
    const dueAt = performance.now() + limitMs;
    // At least 1, since 0 means no limit to the driver.
    const remainingMs = (): number => Math.max(1, Math.ceil(dueAt - performance.now()));
    const connection =
      this.#takeSpare() ??
      (await this.#checkOut(limitMs).catch((error: unknown) => {
        throw this.wrap(error, purpose, "connecting");
      }));
    let origin: ErrorOrigin | undefined;
    try {
      return await work(connection, remainingMs);
    } catch (error) {
      origin = await originOf(error, async () => connection.ask({ text: "" }, remainingMs()));
      if (connection.isLost) this.#cancel(connection);
      throw this.wrap(error, purpose, origin);
    } finally {
      const isUsable = origin === undefined || origin === "statement";
      const { held } = connection;
      if (held === undefined) this.#release(connection, isUsable);
      else void held.then(() => this.#release(connection, isUsable));
    }
  }

  #release(connection: Connection, isUsable: boolean): void {
    this.#busy.delete(connection);
    if (this.#busy.size === 0) this.#onIdle();
    if (isUsable && !this.#isClosed && this.#spare?.keep(connection) === true) return;
    connection.release(isUsable);
  }

  #takeSpare(): Connection | undefined {
    const connection = this.#isClosed ? undefined : this.#spare?.take();
    if (connection !== undefined) this.#busy.add(connection);
    return connection;
  }

  async #checkOut(limitMs: number): Promise<Connection> {
    this.#assertOpen();
    const connection = await checkOut(this.#pool, limitMs);
    if (this.#isClosed) {
      connection.release(true);
      throw new BackendClosedError();
    }
    this.#busy.add(connection);
    return connection;
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new BackendClosedError();
  }

  #cancel(connection: Connection): void {
    const cancelling = connection.cancel().finally(() => this.#cancelling.delete(cancelling));
    this.#cancelling.add(cancelling);
  }
}

/**
 * Limits how long a statement waits for row locks and, if it notifies, for the cluster's notification lock at the
 * commit. `statement_timeout` does not cover that wait. No statement then stays on the server after its client has
 * given up.
 */
export const lockTimeoutSetting = (timeoutMs: number): string =>
  `pg_catalog.set_config('lock_timeout', '${toServerTimeout(timeoutMs)}ms', true)`;

/**
 * Longest time that the server lets a transaction wait for its next statement. Each statement follows the previous
 * answer at once, so if none arrives, the connection is lost and the locks must be released.
 */
const idleTimeoutMs = 30_000;

/** Overrides the role's default: a statement after a wait for a lock must see what was committed meanwhile. */
const beginText = "begin isolation level read committed";

/** Lifts the role's `transaction_timeout`, which exists since version 17. */
const unlimitedText = `; select case when pg_catalog.current_setting('transaction_timeout', true) is not null then pg_catalog.set_config('transaction_timeout', '0', true) end`;

/** Begins a transaction that the server ends if it exceeds `limits` or is not continued. */
function beginWithin(limits: TransactionLimits, leftMs: number): string {
  const { lockTimeoutMs, statementTimeoutMs = Infinity } = limits;
  const settings = {
    statement_timeout: Math.min(leftMs, statementTimeoutMs),
    idle_in_transaction_session_timeout: Math.min(leftMs, idleTimeoutMs),
    ...(lockTimeoutMs === undefined ? {} : { lock_timeout: lockTimeoutMs }),
  };
  const sets = Object.entries(settings).map(([name, ms]) => `; set local ${name} = ${toServerTimeout(ms)}`);
  return beginText + sets.join("") + unlimitedText;
}

/**
 * Begins a transaction whose statements the server ends after `limitMs`, or sooner if the session has a shorter limit.
 */
function beginLimited(limitMs: number): string {
  const [present, limit] = ["pg_catalog.current_setting('statement_timeout')::interval", toServerTimeout(limitMs)];
  return `${beginText}; select pg_catalog.set_config('statement_timeout', case
    when ${present} operator(pg_catalog.>) interval '0' and ${present} operator(pg_catalog.<) interval '${limit} milliseconds'
    then pg_catalog.current_setting('statement_timeout') else '${limit}ms' end, true)`;
}

/**
 * Clamps a limit to at least 1, since 0 means no limit, and to the range of an int (PostgreSQL docs,
 * `statement_timeout`).
 */
const toServerTimeout = (timeoutMs: number): number => Math.min(Math.max(1, Math.ceil(timeoutMs)), 2 ** 31 - 1);
