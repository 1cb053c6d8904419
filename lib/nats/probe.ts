import { connect, type Socket } from "node:net";
import { addressOf } from "./options";

export interface ProbeOptions {
  /** For one server to answer. */
  readonly timeoutMs: number;
  /** Whether a server speaks first, as it does unless it expects TLS at once. */
  readonly isGreeted: boolean;
  readonly signal: AbortSignal;
}

/** The next server is asked as well once those before have kept silent for so long. */
const staggerMs = 250;
/** The first thing a server says (NATS docs, "Client Protocol"). */
const greeting = "INFO";

/**
 * The first of the servers that answers; rejects if none does. Asked by connections of our own before the client is let loose on it: a server that accepts
 * and keeps silent would cost the client a socket that nobody can end, and a connection that it is still trying for cannot be called off.
 */
export async function findServer(servers: readonly string[], options: ProbeOptions): Promise<string> {
  const sockets: Socket[] = [];
  const waiting = [...servers];
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  try {
    return await new Promise<string>((resolve, reject) => {
      let open = 0;
      const next = (): void => {
        clearTimeout(timer);
        const server = waiting.shift();
        if (server === undefined) return;
        open += 1;
        if (waiting.length > 0) timer = setTimeout(next, staggerMs);
        const onFailure = (error: Error): void => {
          open -= 1;
          if (waiting.length > 0) next();
          else if (open === 0) reject(error);
        };
        sockets.push(greet(server, options, () => resolve(server), onFailure));
      };
      abort = () => reject(options.signal.reason as Error);
      options.signal.addEventListener("abort", abort);
      if (options.signal.aborted) abort();
      else next();
    });
  } finally {
    clearTimeout(timer);
    if (abort !== undefined) options.signal.removeEventListener("abort", abort);
    for (const socket of sockets) socket.destroy();
  }
}

/** Connects, and calls one of the two once. */
function greet(
  server: string,
  { timeoutMs, isGreeted }: ProbeOptions,
  onAnswer: () => void,
  onFailure: (error: Error) => void,
): Socket {
  const address = addressOf(server);
  const name = `${address.host}:${address.port}`;
  const socket = connect(address);
  let hasSettled = false;
  const settle = (error?: Error): void => {
    if (hasSettled) return;
    hasSettled = true;
    clearTimeout(timer);
    socket.destroy();
    if (error === undefined) onAnswer();
    else onFailure(error);
  };
  const timer = setTimeout(() => settle(new Error(`${name} does not answer`)), timeoutMs);
  // An error after it has settled, as when the socket is destroyed, is nobody's any more.
  socket.on("error", (error: NodeJS.ErrnoException) => settle(new Error(`${name}: ${error.code ?? error.message}`)));
  socket.on("close", () => {
    clearTimeout(timer);
    settle(new Error(`${name} ended the connection`));
  });
  socket.once(isGreeted ? "data" : "connect", (data?: Buffer) => {
    if (data === undefined || data.toString("latin1", 0, greeting.length) === greeting) settle();
    else settle(new Error(`${name} is no NATS server`));
  });
  return socket;
}
