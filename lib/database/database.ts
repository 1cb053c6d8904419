import type { Pool, PoolClient, QueryResult, QueryResultRow } from "pg";
import { longestTimerMs } from "../deadlines";
import type { ResultBackendError } from "../errors";
import type { SqlClient } from "../result-backend";
import { describe, originOf, toBackendError } from "./backend-error";
import { checkOut, giveBack } from "./pooled-client";
import { hasPace, keepPace } from "./pace";
import { PreparedNames } from "./prepared-names";
import { type ErrorOrigin, sqlStateOf } from "./sql-states";

export interface Query {
  readonly text: string;
  readonly values: readonly unknown[];
  /** What it does, for error messages: "store results". */
  readonly purpose: string;
  /** Whether it is sent so often, and its plan matters so little, that it is worth preparing. */
  readonly isPrepared?: boolean;
  /** Called right before the driver gets it, once there is a connection. */
  readonly onSend?: () => void;
  /** Whether its time limit begins anew as long as the answer goes on arriving. For reads of results that may be large. */
  readonly isPaced?: boolean;
}

export interface TransactionLimits {
  readonly timeoutMs: number;
  readonly beginTimeoutMs: number;
  readonly lockTimeoutMs?: number;
}

/** Whatever the role's default: what comes after a lock is to see what was committed while it was waited for. */
export const beginText = "begin isolation level read committed";

/** The cause of an error that came before the transaction began: nothing of it has happened, and another connection may do better. */
export class BeginError extends Error {
  override readonly name = "BeginError";
}

/** Queries on a pool, each with a deadline of its own, and each error made one of ours. */
export class Database {
  readonly #pool: Pool;
  readonly #schema: string;
  readonly #names: PreparedNames;
  #queries = 0;

  /** `mayPrepare`: whether the pool's connections may be sessions of the server, and not of a transaction pooler. */
  constructor(pool: Pool, schema: string, mayPrepare = true) {
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
   * statement took effect is then unknown.
   */
  query<Row extends unknown[]>(query: Query, timeoutMs: number): Promise<Row[]> {
    const limitMs = Math.min(timeoutMs, longestTimerMs);
    const dueAt = performance.now() + limitMs;
    // By callbacks, and one promise at the end: it is behind every store and every wake-up, and each promise on the way was a step more between an answer and its caller.
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => reject(this.wrap(error, query.purpose, "connecting"));
      const use = (client: PoolClient): void =>
        this.#run<Row>(client, query, dueAt, (error, rows) => {
          if (rows === undefined) {
            resolve(this.#failAfter(error, client, query.purpose, dueAt));
            return;
          }
          giveBack(client, true);
          resolve(rows);
        });
      checkOut(this.#pool, limitMs, use, fail);
    });
  }

  /**
   * Runs `work` in a transaction on one connection, within `timeoutMs` in all; a server that does not even answer `begin` is waited for no longer than `beginTimeoutMs`, and a
   * lock no longer than `lockTimeoutMs`.
   */
  async transaction<T>(
    purpose: string,
    { timeoutMs, beginTimeoutMs, lockTimeoutMs }: TransactionLimits,
    work: (client: SqlClient) => Promise<T>,
  ): Promise<T> {
    return this.#withClient(purpose, timeoutMs, async (client, remainingMs) => {
      let unanswered: unknown;
      const run = async (
        text: string,
        values: unknown[] = [],
      ): Promise<{ rows: QueryResultRow[]; rowCount: number | null }> => {
        this.#queries += 1;
        const limit = { query_timeout: remainingMs() };
        // Without values it goes by the simple protocol, which takes several statements at once, as a migration file needs.
        const query = values.length === 0 ? { text, ...limit } : { text, values, ...limit };
        return client.query(query).catch((error: unknown) => {
          if (sqlStateOf(error) === undefined) unanswered = error;
          throw error;
        });
      };
      const begin = {
        text:
          lockTimeoutMs === undefined
            ? beginText
            : `${beginText}; set local lock_timeout = ${Math.ceil(lockTimeoutMs)}`,
        query_timeout: Math.min(remainingMs(), beginTimeoutMs),
      };
      await client.query(begin).catch((error: unknown) => {
        throw sqlStateOf(error) === undefined ? new BeginError(describe(error), { cause: error }) : error;
      });
      try {
        const outcome = await work({ query: run });
        await run("commit");
        return outcome;
      } catch (error) {
        // A connection that gave no answer is not asked again: it is thrown away, and the server rolls back by itself.
        if (unanswered === undefined) await run("rollback").catch(() => undefined);
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
        const query = { text, values, query_timeout: remainingMs() };
        return client.query(query);
      };
      return work({ query });
    });
  }

  /** Whether a pooler stands before the server: it gives its clients process numbers of its own, which are not those of the sessions that they reach. */
  async isPooled(timeoutMs: number): Promise<boolean> {
    return this.#withClient("look for a pooler", timeoutMs, async (client, remainingMs) => {
      this.#queries += 1;
      const query = { text: "select pg_catalog.pg_backend_pid() as pid", query_timeout: remainingMs() };
      const { rows } = await client.query<{ pid: number }>(query);
      return rows[0]?.pid !== (client as { processID?: number | null }).processID;
    });
  }

  /** Makes any error of the driver or the server one of ours. */
  wrap(error: unknown, purpose: string, origin?: ErrorOrigin): ResultBackendError {
    return toBackendError(error, { purpose, schema: this.#schema, origin, isPoolEnding: this.#pool.ending });
  }

  /** Returns a connection on which something failed, if its session goes on, and rejects with what failed. */
  async #failAfter(error: unknown, client: PoolClient, purpose: string, dueAt: number): Promise<never> {
    const probe = { text: "", query_timeout: remainingMs(dueAt) };
    const origin = await originOf(error, async () => client.query(probe));
    giveBack(client, origin === "statement");
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
    const onResult = (error: Error | null | undefined, result: QueryResult<Row>): void => {
      if (isDone) return;
      isDone = true;
      stopPace?.();
      // Sent once more, under no name, where a pooler has put another session in the place of the one that knew it.
      if (error && name !== undefined && this.#names.isLost(sqlStateOf(error)))
        this.#run(client, { ...query, isPrepared: false }, dueAt, done);
      else if (error) done(error);
      else done(undefined, result.rows);
    };
    this.#queries += 1;
    query.onSend?.();
    const config = {
      text: query.text,
      values: [...query.values],
      rowMode: "array" as const,
      ...(isPaced ? {} : { query_timeout: limitMs }),
    };
    if (isPaced) {
      const isEnding = (): boolean => this.#pool.ending;
      const onStalled = (): void => onResult(new Error("Query read timeout"), undefined as never);
      stopPace = keepPace(client, limitMs, isEnding, onStalled);
    }
    try {
      client.query<Row>(name === undefined ? config : { ...config, name }, onResult);
    } catch (error) {
      // The driver throws nothing; what an application has put around its pool may. Nobody above would catch it.
      onResult(error as Error, undefined as never);
    }
  }

  async #withClient<T>(
    purpose: string,
    timeoutMs: number,
    work: (client: PoolClient, remainingMs: () => number) => Promise<T>,
  ): Promise<T> {
    const limitMs = Math.min(timeoutMs, longestTimerMs);
    const dueAt = performance.now() + limitMs;
    const client = await new Promise<PoolClient>((use, fail) => {
      checkOut(this.#pool, limitMs, use, (error) => fail(this.wrap(error, purpose, "connecting")));
    });
    try {
      const outcome = await work(client, () => remainingMs(dueAt));
      giveBack(client, true);
      return outcome;
    } catch (error) {
      return await this.#failAfter(error, client, purpose, dueAt);
    }
  }
}

/** At least 1: 0 would mean no limit to the driver. */
const remainingMs = (dueAt: number): number => Math.max(1, Math.ceil(dueAt - performance.now()));

/**
 * Bounds how long a statement may wait for row locks and, if it notifies, for the cluster's notification lock at its commit; `statement_timeout` does not cover the
 * latter. So what we have given up on does not stay behind on the server, statement after statement.
 */
export const lockTimeoutSetting = (timeoutMs: number): string =>
  `pg_catalog.set_config('lock_timeout', '${Math.max(1, Math.round(timeoutMs))}ms', true)`;
