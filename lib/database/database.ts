import type { PoolClient, QueryResultRow } from "pg";
import { longestTimerMs } from "../value/arguments";
import { BackendClosedError, ResultBackendError } from "../errors";
import type { SqlClient } from "../result-backend";
import { describe, originOf, toBackendError } from "./backend-error";
import { hasPace, keepPace } from "./pace";
import type { ConnectionPool } from "./pool";
import { ask, cancelStatement, checkOut, destroySocket, giveBack, send } from "./pooled-client";
import { PreparedNames } from "./prepared-names";
import { type ErrorOrigin, sqlStateOf } from "./sql-states";
import { settledWithin } from "./race";

export interface Query {
  readonly text: string;
  readonly values: readonly unknown[];
  /** What it does, for error messages: "store results". */
  readonly purpose: string;
  /** Whether it is sent so often, and its plan matters so little, that it is worth preparing. */
  readonly isPrepared?: boolean;
  /** Gives the query to send in place of this one once there is a connection, which may have taken long; undefined: this one. */
  readonly whenSent?: () => Query | undefined;
  /** Called right before the driver gets it, once there is a connection. */
  readonly onSend?: () => void;
  /** Whether its time limit begins anew as long as the answer goes on arriving. For reads of results that may be large. */
  readonly isPaced?: boolean;
}

export interface TransactionLimits {
  readonly timeoutMs: number;
  readonly beginTimeoutMs: number;
  readonly lockTimeoutMs?: number | undefined;
  /** A statement that fails if it comes too late, sent in one piece with `commit`, which then does nothing. */
  readonly commitGuard?: string | undefined;
  /** Longest time for one statement, on the server. Default: all the time that is left. */
  readonly statementTimeoutMs?: number | undefined;
}

/**
 * Longest time that the server lets a transaction of ours wait for its next statement. Each follows the answer to the one before, so one that does not come is lost, and what the
 * transaction has locked is to be free again.
 */
const idleTimeoutMs = 30_000;

/** How long `close` waits for the answers of statements that it has cancelled. */
const lastAnswersMs = 1_000;

/** Whatever the role's default: what comes after a lock is to see what was committed while it was waited for. */
const beginText = "begin isolation level read committed";

/** Lifts the role's `transaction_timeout`, which exists since version 17. */
const unlimitedText = `; select case when pg_catalog.current_setting('transaction_timeout', true) is not null then pg_catalog.set_config('transaction_timeout', '0', true) end`;

/** The cause of an error that came before the transaction began: nothing of it has happened, and another connection may do better. */
export class BeginError extends Error {
  override readonly name = "BeginError";
}

/** Queries on a pool, each with a deadline of its own, and each error made one of ours. */
export class Database {
  readonly #pool: ConnectionPool;
  readonly #schema: string;
  readonly #names: PreparedNames;
  /** Connections that are in use. */
  readonly #busy = new Set<PoolClient>();
  /** Connections that have left a statement unanswered, whatever the error that came of it. */
  readonly #lost = new WeakSet<PoolClient>();
  readonly #cancelling = new Set<Promise<void>>();
  #onIdle: () => void = () => undefined;
  #isClosed = false;
  #queries = 0;

  /** `mayPrepare`: whether the pool's connections may be sessions of the server, and not of a transaction pooler. */
  constructor(pool: ConnectionPool, schema: string, mayPrepare = true) {
    this.#pool = pool;
    this.#schema = schema;
    this.#names = new PreparedNames(mayPrepare);
  }

  /** Statements sent so far. */
  get queries(): number {
    return this.#queries;
  }

  /**
   * Runs one statement and gives its rows as arrays. Rejects after `timeoutMs` at the latest, however dead the connection is; whether the
   * statement took effect is then unknown. The server is asked to cancel it.
   */
  query<Row extends unknown[]>(query: Query, timeoutMs: number): Promise<Row[]> {
    const limitMs = Math.min(timeoutMs, longestTimerMs);
    const dueAt = performance.now() + limitMs;
    // By callbacks, and one promise at the end: it is behind every store and every wake-up, and each promise on the way was a step more between an answer and its caller.
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(this.wrap(error, query.purpose, "connecting"));
      const use = (client: PoolClient): void =>
        this.#run<Row>(client, query.whenSent?.() ?? query, dueAt, (error, rows) => {
          this.#noteIdle(client);
          if (rows === undefined) {
            resolve(this.#failAfter(error, client, query.purpose, dueAt));
            return;
          }
          giveBack(client, true);
          resolve(rows);
        });
      this.#checkOut(limitMs, use, fail);
    });
  }

  /**
   * Runs one statement that the server itself ends after `limitMs`, or sooner where the session says so. Takes three round trips, and leaves nothing running on the server: for
   * statements that are likely to take too long. `timeoutMs` is for everything, the wait for a connection included.
   */
  async queryLimited<Row extends unknown[]>(query: Query, limitMs: number, timeoutMs: number): Promise<Row[]> {
    return this.#withClient(query.purpose, timeoutMs, async (client, remainingMs) => {
      this.#queries += 1;
      query.onSend?.();
      await ask(client, { text: `${beginText}; ${statementLimitText(limitMs)}` }, remainingMs());
      try {
        const statement = { text: query.text, values: [...query.values], rowMode: "array" as const };
        const { rows } = await ask(client, statement, remainingMs());
        await ask(client, { text: "commit" }, remainingMs());
        return rows as unknown[] as Row[];
      } catch (error) {
        if (sqlStateOf(error) !== undefined)
          await ask(client, { text: "rollback" }, remainingMs()).catch(() => undefined);
        throw error;
      }
    });
  }

  /**
   * Runs `work` in a transaction on one connection, within `timeoutMs` in all; a server that does not even answer `begin` is waited for no longer than `beginTimeoutMs`, and a
   * lock no longer than `lockTimeoutMs`. The server ends what takes longer, or is not continued, by itself.
   */
  async transaction<T>(
    purpose: string,
    { timeoutMs, beginTimeoutMs, lockTimeoutMs, statementTimeoutMs = Infinity, commitGuard }: TransactionLimits,
    work: (client: SqlClient) => Promise<T>,
  ): Promise<T> {
    return this.#withClient(purpose, timeoutMs, async (client, remainingMs) => {
      let unanswered: unknown;
      const run = async (
        text: string,
        values: unknown[] = [],
      ): Promise<{ rows: QueryResultRow[]; rowCount: number | null }> => {
        this.#queries += 1;
        if (this.#isClosed) throw (unanswered = new BackendClosedError());
        // Without values it goes by the simple protocol, which takes several statements at once, as a migration file needs.
        return ask(client, values.length === 0 ? { text } : { text, values }, remainingMs()).catch((error: unknown) => {
          if (sqlStateOf(error) === undefined) unanswered = error;
          throw error;
        });
      };
      const leftMs = remainingMs();
      const settings = {
        statement_timeout: Math.min(leftMs, statementTimeoutMs),
        idle_in_transaction_session_timeout: Math.min(leftMs, idleTimeoutMs),
        ...(lockTimeoutMs === undefined ? {} : { lock_timeout: lockTimeoutMs }),
      };
      const sets = Object.entries(settings).map(([name, ms]) => `; set local ${name} = ${toServerTimeout(ms)}`);
      const beginMs = Math.min(leftMs, beginTimeoutMs);
      await ask(client, { text: beginText + sets.join("") + unlimitedText }, beginMs).catch((error: unknown) => {
        throw sqlStateOf(error) === undefined ? new BeginError(describe(error), { cause: error }) : error;
      });
      try {
        const outcome = await work({ query: run });
        await run(commitGuard === undefined ? "commit" : `${commitGuard}; commit`);
        return outcome;
      } catch (error) {
        // A connection that gave no answer is not asked again: it is thrown away, and the server rolls back by itself.
        if (unanswered === undefined) await run("rollback").catch(() => undefined);
        if (unanswered !== undefined) this.#lost.add(client);
        throw error;
      }
    });
  }

  /** Runs `work` on one connection, outside a transaction, for statements that cannot run in one. */
  async session<T>(purpose: string, timeoutMs: number, work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#withClient(purpose, timeoutMs, async (client, remainingMs) => {
      const query = async (
        text: string,
        values: unknown[] = [],
      ): Promise<{ rows: QueryResultRow[]; rowCount: number | null }> => {
        this.#queries += 1;
        if (this.#isClosed) throw new BackendClosedError();
        return ask(client, { text, values }, remainingMs());
      };
      return work({ query });
    });
  }

  /** Whether a pooler stands before the server: it gives its clients process numbers of its own, which are not those of the sessions that they reach. */
  async isPooled(timeoutMs: number): Promise<boolean> {
    return this.#withClient("look for a pooler", timeoutMs, async (client, remainingMs) => {
      this.#queries += 1;
      const { processID } = client as { processID?: number | null };
      const { rows } = await ask(client, { text: "select pg_catalog.pg_backend_pid() as pid" }, remainingMs());
      return typeof processID === "number" && (rows as { pid: number }[])[0]?.pid !== processID;
    });
  }

  /** Makes any error of the driver or the server one of ours. */
  wrap(error: unknown, purpose: string, origin?: ErrorOrigin): ResultBackendError {
    return toBackendError(error, { purpose, schema: this.#schema, origin, isPoolEnding: this.#pool.ending === true });
  }

  /**
   * Sends nothing more: what waits for a connection fails once it would get one, and statements that are under way are cancelled. Connections that give no answer are destroyed, with
   * what they have yet to send.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    const answered = new Promise<void>((resolve) => (this.#onIdle = resolve));
    for (const client of this.#busy) this.#cancel(client);
    if (this.#busy.size > 0) await settledWithin(answered, lastAnswersMs);
    for (const client of this.#busy) destroySocket(client);
    await settledWithin(Promise.all(this.#cancelling), lastAnswersMs);
  }

  #noteIdle(client: PoolClient): void {
    this.#busy.delete(client);
    if (this.#busy.size === 0) this.#onIdle();
  }

  #cancel(client: PoolClient): void {
    const { stream } = (this.#pool.options ?? {}) as { readonly stream?: unknown };
    const cancelling = cancelStatement(client, stream).finally(() => this.#cancelling.delete(cancelling));
    this.#cancelling.add(cancelling);
  }

  #checkOut(limitMs: number, use: (client: PoolClient) => void, fail: (error: unknown) => void): void {
    if (this.#isClosed) {
      fail(new BackendClosedError());
      return;
    }
    const useIfOpen = (client: PoolClient): void => {
      if (this.#isClosed) {
        giveBack(client, true);
        fail(new BackendClosedError());
        return;
      }
      this.#busy.add(client);
      use(client);
    };
    checkOut(this.#pool, limitMs, useIfOpen, fail);
  }

  /** Returns a connection on which something failed, if its session goes on, and rejects with what failed. */
  async #failAfter(error: unknown, client: PoolClient, purpose: string, dueAt: number): Promise<never> {
    const origin = await originOf(error, async () => ask(client, { text: "" }, remainingMs(dueAt)));
    const isUnanswered = this.#lost.has(client) || (origin === "session" && sqlStateOf(causeOf(error)) === undefined);
    if (isUnanswered) this.#cancel(client);
    giveBack(client, origin === "statement" && !isUnanswered);
    throw this.wrap(error, purpose, origin);
  }

  /** Runs a statement, prepared if that is wanted and works here. `done` is called once: with rows, or with an error. */
  #run<Row extends unknown[]>(
    client: PoolClient,
    query: Query,
    dueAt: number,
    done: (error: unknown, rows?: Row[]) => void,
  ): void {
    const name = query.isPrepared === true ? this.#names.nameOf(query.text) : undefined;
    const limitMs = remainingMs(dueAt);
    const isPaced = query.isPaced === true && hasPace(client);
    let isDone = false;
    let stopPace: (() => void) | undefined;
    const onResult = (error: unknown, rows?: Row[]): void => {
      if (isDone) return;
      isDone = true;
      stopPace?.();
      // Sent once more, under no name, where a pooler has put another session in the place of the one that knew it.
      if (rows === undefined && name !== undefined && this.#names.isLost(sqlStateOf(error)) && !this.#isClosed)
        this.#run(client, { ...query, isPrepared: false }, dueAt, done);
      else done(error, rows);
    };
    this.#queries += 1;
    query.onSend?.();
    if (isPaced) {
      const isEnding = (): boolean => this.#pool.ending === true;
      stopPace = keepPace(client, limitMs, isEnding, () => {
        onResult(new Error("Query read timeout"));
      });
    }
    const statement = { text: query.text, values: [...query.values], rowMode: "array" as const };
    const named = name === undefined ? statement : { ...statement, name };
    send<Row>(client, named, isPaced ? undefined : limitMs, (error, result) => {
      onResult(error, result?.rows);
    });
  }

  async #withClient<T>(
    purpose: string,
    timeoutMs: number,
    work: (client: PoolClient, remainingMs: () => number) => Promise<T>,
  ): Promise<T> {
    const limitMs = Math.min(timeoutMs, longestTimerMs);
    const dueAt = performance.now() + limitMs;
    const client = await new Promise<PoolClient>((use, fail) => {
      this.#checkOut(limitMs, use, (error) => fail(this.wrap(error, purpose, "connecting")));
    });
    try {
      const outcome = await work(client, () => remainingMs(dueAt));
      this.#noteIdle(client);
      giveBack(client, true);
      return outcome;
    } catch (error) {
      this.#noteIdle(client);
      return await this.#failAfter(error, client, purpose, dueAt);
    }
  }
}

/** The error of the driver or the server behind one of ours. */
const causeOf = (error: unknown): unknown => (error instanceof ResultBackendError ? error.cause : error);

/** At least 1: 0 would mean no limit to the driver. */
const remainingMs = (dueAt: number): number => Math.max(1, Math.ceil(dueAt - performance.now()));

/**
 * Bounds how long a statement may wait for row locks and, if it notifies, for the cluster's notification lock at its commit; `statement_timeout` does not cover the
 * latter. So what we have given up on does not stay behind on the server, statement after statement.
 */
export const lockTimeoutSetting = (timeoutMs: number): string =>
  `pg_catalog.set_config('lock_timeout', '${toServerTimeout(timeoutMs)}ms', true)`;

/** Has the server end each further statement of the transaction after `limitMs`, unless the session has a limit that is shorter. */
const statementLimitText = (limitMs: number): string => {
  const [present, limit] = ["pg_catalog.current_setting('statement_timeout')::interval", toServerTimeout(limitMs)];
  return `select pg_catalog.set_config('statement_timeout', case
    when ${present} operator(pg_catalog.>) interval '0' and ${present} operator(pg_catalog.<) interval '${limit} milliseconds'
    then pg_catalog.current_setting('statement_timeout') else '${limit}ms' end, true)`;
};

/** At least 1, since 0 means no limit, and no more than an int holds (PostgreSQL docs, `statement_timeout`). */
const toServerTimeout = (timeoutMs: number): number => Math.min(Math.max(1, Math.ceil(timeoutMs)), 2 ** 31 - 1);
