import type { PoolClient, QueryArrayResult, QueryResult } from "pg";
import { longestTimerMs } from "../value/arguments";
import { requestCancel } from "./cancel-request";
import type { ConnectionPool } from "./pool";
import { rawValues } from "./raw-values";

const ignore = (): void => undefined;

/** How much later than the driver's own limit an answer is given up: what stands between may never pass on that it was reached. */
const graceMs = 100;
/** How often a call that waits for a connection looks whether its pool is being ended: that of `pg` never answers such a call. */
const endingCheckMs = 500;

/** What the pool of `pg` is besides. */
interface TakesCallback {
  connect(callback: (error: Error | undefined, client: PoolClient | undefined) => void): unknown;
}

/** A client that answers by callback, by promise, or by both. */
interface TakesStatements {
  query(config: object, callback: (error: unknown, result: unknown) => void): unknown;
}

/** A statement for {@link send}. */
export interface Statement {
  readonly text: string;
  readonly values?: unknown[];
  readonly name?: string;
  readonly rowMode?: "array";
}

/**
 * Takes a connection from a pool for `use`, or tells `fail` why there is none within `timeoutMs`. A pool without `connectionTimeoutMillis` waits for ever, and so does one that is ended
 * meanwhile; a client that comes too late goes straight back.
 */
export function checkOut(
  pool: ConnectionPool,
  timeoutMs: number,
  use: (client: PoolClient) => void,
  fail: (error: unknown) => void,
): void {
  let isSettled = false;
  let taken: PoolClient | undefined;
  const onError = (error: unknown): void => {
    if (isSettled) return;
    isSettled = true;
    clearTimeout(timer);
    fail(error);
  };
  const onClient = (client: PoolClient): void => {
    // By callback and by promise.
    if (client === taken) return;
    if (isSettled) {
      client.release();
      return;
    }
    isSettled = true;
    taken = client;
    clearTimeout(timer);
    forEvents(client).on?.("error", ignore);
    setText(client);
    use(client);
  };
  const dueAt = performance.now() + timeoutMs;
  // Not a reason for a process to go on: a pool that is not ended has a socket that keeps the process alive.
  const arm = (leftMs: number): NodeJS.Timeout => setTimeout(check, Math.min(leftMs, endingCheckMs)).unref();
  const check = (): void => {
    const leftMs = dueAt - performance.now();
    if (pool.ending === true) onError(new Error("The pool was ended before it gave a connection."));
    else if (leftMs <= 0) onError(new Error(`No connection from the pool within ${Math.round(timeoutMs)} ms.`));
    else timer = arm(leftMs);
  };
  let timer = arm(timeoutMs);
  // By callback, which is called in the moment in which the pool lets go of the client. A promise would go on a little later, and a server that dies in between
  // (its last words can come in one piece with its first) would send an error event that nobody listens to, which ends the process. A pool that an application has
  // changed may give a promise alone.
  try {
    const connecting: unknown = (pool as TakesCallback).connect((error, client) => {
      if (client === undefined) onError(error ?? new Error("The pool gave no connection."));
      else onClient(client);
    });
    if (isThenable(connecting))
      connecting.then((client) => {
        if (isObject(client)) onClient(client as PoolClient);
      }, onError);
  } catch (error) {
    onError(error);
  }
}

/**
 * Sends a statement, and calls `done` once, with its result or with an error, within `limitMs` and a little more; without a limit the caller keeps one. What an application has put around the `query` of its clients may throw,
 * answer by promise alone, reject it beside the callback, or never answer.
 */
export function send<Row extends unknown[]>(
  client: PoolClient,
  statement: Statement,
  limitMs: number | undefined,
  done: (error: unknown, result?: QueryArrayResult<Row>) => void,
): void {
  let isDone = false;
  const finish = (error: unknown, result?: QueryArrayResult<Row>): void => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    done(error, result);
  };
  const refuse = (error: unknown): void => {
    finish(error ?? new Error("The query was rejected without a reason."));
  };
  const late = (): void => {
    refuse(new Error("Query read timeout"));
  };
  const timer =
    limitMs === undefined ? undefined : setTimeout(late, Math.min(limitMs + graceMs, longestTimerMs)).unref();
  try {
    const limit = limitMs === undefined ? {} : { query_timeout: limitMs };
    const config = { ...statement, ...limit, types: rawValues };
    const answering = (client as TakesStatements).query(config, (error, result) => {
      if (error) finish(error);
      else finish(undefined, result as QueryArrayResult<Row>);
    });
    if (isThenable(answering))
      answering.then((result) => {
        if (isObject(result)) finish(undefined, result as QueryArrayResult<Row>);
      }, refuse);
  } catch (error) {
    refuse(error);
  }
}

/** The same by promise. */
export async function ask(client: PoolClient, statement: Statement, limitMs: number): Promise<QueryResult> {
  return new Promise((resolve, reject) => {
    send(client, statement, limitMs, (error, result) => {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- it is what the driver gave
      if (result === undefined) reject(error);
      else resolve(result);
    });
  });
}

/** Clients whose statement is being cancelled. None is used again: the request may arrive late, and would end the next statement. */
const cancelledClients = new WeakMap<PoolClient, Promise<void>>();

/** Has the server cancel the statement of a client, which is closed once it is given back. Resolves when that has been tried. */
export function cancelStatement(client: PoolClient, stream: unknown): Promise<void> {
  const earlier = cancelledClients.get(client);
  if (earlier !== undefined) return earlier;
  const cancelling = requestCancel(client, stream);
  cancelledClients.set(client, cancelling);
  return cancelling;
}

/** Returns a connection to its pool; one that `isUsable` no more is closed at once, but one whose statement is being cancelled after that. */
export function giveBack(client: PoolClient, isUsable: boolean): void {
  const cancelling = cancelledClients.get(client);
  if (cancelling !== undefined) {
    closeAfter(cancelling, client);
    return;
  }
  if (isUsable) {
    if (binaryClients.delete(client)) Object.assign(client, { binary: true });
    forEvents(client).removeListener?.("error", ignore);
    client.release();
    return;
  }
  client.release(true);
  destroySocket(client);
}

/** Returns a connection to its pool at once and closes it later: a pooler lets go of the session of a client that is gone, and cannot cancel its statement any more. */
function closeAfter(cancelling: Promise<void>, client: PoolClient): void {
  // In place of the driver's, which would destroy the socket.
  const end = (done?: () => void): Promise<void> => {
    done?.();
    return Promise.resolve();
  };
  Object.assign(client, { end });
  client.release(true);
  // Also those of the pool, which would report the loss of a connection that it has no more.
  forEvents(client).removeAllListeners?.("error");
  forEvents(client).on?.("error", ignore);
  (client as HasSocket).connection?.stream?.unref?.();
  void cancelling.then(() => destroySocket(client));
}

/** A client of `pg`. Its socket has no public name. */
interface HasSocket {
  readonly connection?: { readonly stream?: { destroy?: () => void; unref?: () => void } };
}

/** The driver ends a connection by asking the peer, and waits for ever for one that is silent. */
export function destroySocket(client: object): void {
  (client as HasSocket).connection?.stream?.destroy?.();
}

/** Clients that ask for the binary format (`binary: true` of the pool, or of `pg.defaults`) while they are lent to others. */
const binaryClients = new WeakSet();

/** Has a client answer with text until it is given back: the driver reads the binary format as UTF-8, which destroys numbers, and a single query cannot choose. */
function setText(client: PoolClient): void {
  if ((client as { binary?: unknown }).binary !== true) return;
  binaryClients.add(client);
  Object.assign(client, { binary: false });
}

/** Not every pool lends something that emits events. */
const forEvents = (client: PoolClient): Partial<Pick<PoolClient, "on" | "removeListener" | "removeAllListeners">> =>
  client;

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  isObject(value) && typeof (value as Partial<PromiseLike<unknown>>).then === "function";
