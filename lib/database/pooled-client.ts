import type { Pool, PoolClient } from "pg";

const ignore = (): void => undefined;

/**
 * Takes a connection from a pool for `use`, or tells `fail` why there is none within `timeoutMs`. A pool without `connectionTimeoutMillis` waits for ever; a client that comes
 * too late goes straight back.
 */
export function checkOut(
  pool: Pool,
  timeoutMs: number,
  use: (client: PoolClient) => void,
  fail: (error: Error) => void,
): void {
  let isLate = false;
  const giveUp = (): void => {
    isLate = true;
    fail(new Error(`No connection from the pool within ${Math.round(timeoutMs)} ms.`));
  };
  // None where a connection lies ready: it comes in this very turn. Not a reason for a process to go on: a pool that is ended forgets who waits for it, and one
  // that is not has a socket that keeps the process alive.
  const timer = pool.idleCount > pool.waitingCount ? undefined : setTimeout(giveUp, timeoutMs).unref();
  // By callback, which is called in the moment in which the pool lets go of the client. A promise would go on a little later, and a server that dies in between
  // (its last words can come in one piece with its first) would send an error event that nobody listens to, which ends the process.
  pool.connect((error, client) => {
    clearTimeout(timer);
    if (client === undefined) {
      if (!isLate) fail(error ?? new Error("The pool gave no connection."));
    } else if (isLate) {
      client.release();
    } else {
      client.on("error", ignore);
      use(client);
    }
  });
}

/** Returns a connection to its pool; one that `isUsable` no more is closed at once. */
export function giveBack(client: PoolClient, isUsable: boolean): void {
  if (isUsable) {
    client.removeListener("error", ignore);
    client.release();
    return;
  }
  client.release(true);
  destroySocket(client);
}

/** The driver ends a connection by asking the peer, and waits for ever for one that is silent. Its socket has no public name. */
export function destroySocket(client: object): void {
  const { connection } = client as { connection?: { stream?: { destroy?: () => void } } };
  connection?.stream?.destroy?.();
}
