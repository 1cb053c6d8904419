import type { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import { Connection } from "pg";

/** Longest time for one request. On a path that works it takes one round trip, or three with TLS. */
const requestTimeoutMs = 1_000;

/** The part of a connected client of `pg` that a request to cancel its statement needs. Clients of other drivers and pools may lack it. */
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
  connect(port: number, host?: string): void;
  requestSsl(): void;
  cancel(processID: number, secretKey: unknown): void;
}

/**
 * Asks the server to cancel the statement of a client, over a connection of its own (PostgreSQL docs, "Canceling Requests in Progress"). Resolves once the server has passed the
 * request on to the session, or it has failed, or taken too long; keeps no process alive. Does nothing where the client does not know what to ask with.
 *
 * The `cancel` of the driver's clients is not used: it sends the request unencrypted into a connection that is to be encrypted.
 *
 * @param stream - The option of the client's configuration; a function makes the stream for the request, too.
 */
export async function requestCancel(client: object, stream: unknown): Promise<void> {
  const { host, port, ssl, sslNegotiation, processID, secretKey } = client as CancellableClient;
  if (typeof port !== "number" || typeof processID !== "number" || secretKey === undefined || secretKey === null)
    return;
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
      const config: object = { stream, ssl, sslNegotiation };
      const connecting = new Connection(config) as unknown as DriverConnection;
      connection = connecting;
      const send = (): void => {
        connecting.stream.unref?.();
        connecting.cancel(processID, secretKey);
      };
      const begin = (): void => {
        if (ssl === undefined || ssl === null || ssl === false) send();
        // A negotiation that is direct begins by itself.
        else if (sslNegotiation !== "direct") connecting.requestSsl();
      };
      // The server closes the connection once it has dealt with the request, and says nothing.
      connecting.on("end", finish).on("error", finish).on("connect", begin).on("sslconnect", send);
      if (host?.startsWith("/") === true) connecting.connect(`${host}/.s.PGSQL.${port}` as unknown as number);
      else connecting.connect(port, host);
      connecting.stream.unref?.();
    } catch {
      finish();
    }
  });
}
