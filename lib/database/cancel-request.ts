import type { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import { Connection } from "pg";

/** Longest time for one request. On a path that works it takes one round trip, or three with TLS. */
const requestTimeoutMs = 1_000;

/** The part of a connected client of `pg` that a request to cancel its statement needs. Other drivers may lack it. */
interface CancellableClient {
  readonly host?: string;
  readonly port?: number;
  readonly ssl?: unknown;
  readonly sslNegotiation?: unknown;
  readonly processID?: number | null;
  readonly secretKey?: unknown;
}

/** The driver's connection, with what its types leave out. */
interface DriverConnection extends EventEmitter {
  readonly stream: Duplex & { unref?: () => void };
  connect(port: number | string, host?: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: unknown): void;
}

/**
 * Asks the server to cancel the statement of a client, over a separate connection (PostgreSQL docs, "Canceling Requests
 * in Progress"). Resolves once the request was handled, has failed or has taken too long. Does nothing if the client
 * lacks the data for a request. The driver's own `cancel` would send the request unencrypted even if TLS is required.
 *
 * @param stream - The option of the client's configuration; a function makes the stream for the request, too.
 */
export async function requestCancel(client: CancellableClient, stream: unknown): Promise<void> {
  const { port, processID, secretKey } = client;
  if (port === undefined || typeof processID !== "number" || secretKey === undefined || secretKey === null) return;
  // The client's only stream.
  if (stream !== undefined && typeof stream !== "function") return;
  await new Promise<void>((resolve) => {
    let connection: DriverConnection | undefined;
    const finish = (): void => {
      clearTimeout(timer);
      connection?.stream.destroy();
      resolve();
    };
    const timer = setTimeout(finish, requestTimeoutMs).unref();
    try {
      const config: object = { stream, ssl: client.ssl, sslNegotiation: client.sslNegotiation };
      connection = new Connection(config) as unknown as DriverConnection;
      // The server closes the connection once it has dealt with the request, and says nothing.
      connection.on("end", finish).on("error", finish);
      sendOver(connection, client, processID, secretKey);
    } catch {
      finish();
    }
  });
}

function sendOver(
  connection: DriverConnection,
  { host, port, ssl, sslNegotiation }: CancellableClient,
  processID: number,
  secretKey: unknown,
): void {
  const send = (): void => {
    connection.stream.unref?.();
    connection.cancel(processID, secretKey);
  };
  connection.on("sslconnect", send).on("connect", () => {
    if (ssl === undefined || ssl === null || ssl === false) send();
    // A negotiation that is direct begins by itself.
    else if (sslNegotiation !== "direct") connection.requestSsl();
  });
  if (host?.startsWith("/") === true) connection.connect(`${host}/.s.PGSQL.${port}`);
  else connection.connect(port ?? 5432, host);
  connection.stream.unref?.();
}
