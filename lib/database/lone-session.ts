import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ClientConfig } from "pg";
import { sqlStateOf } from "./sql-states";

const connectTimeoutMs = 5_000;
/** How long a connection may take to end politely. On a dead one the driver would wait until TCP gives up, many minutes. */
const farewellMs = 200;

/** A session of the server outside any pool, over a {@link LoneConnection}. */
export interface LoneSession {
  /** Ends the session, by force if need be. */
  dispose(): Promise<void>;
}

export interface LoneSessionParts<Session extends LoneSession> {
  readonly config: ClientConfig;
  /** As for the server's command line, after those of `config`. Poolers refuse them; the session then begins without them. */
  readonly sessionOptions: string;
  /** The most that one answer may take. */
  readonly queryTimeoutMs: number;
  readonly create: (connection: LoneConnection) => Session;
  /** Connects, and does whatever else makes the session of use. */
  readonly connect: (session: Session) => Promise<void>;
  /** Calls the opening off. */
  readonly signal: AbortSignal;
  /** What the opening then rejects with. */
  readonly abortMessage: string;
}

/** Opens a session; once more without its options where they may be what was refused. One that fails, or is called off, is disposed of before this rejects. */
export async function openLoneSession<Session extends LoneSession>(parts: LoneSessionParts<Session>): Promise<Session> {
  const { config, sessionOptions, queryTimeoutMs, signal } = parts;
  // The first, so that a limit in the options of the application wins.
  const limit = `-c statement_timeout=${queryTimeoutMs}`;
  const options = [limit, config.options, sessionOptions].filter(Boolean).join(" ");
  try {
    return await openWith({ ...config, options }, parts);
  } catch (error) {
    if (!mayConcernOptions(sqlStateOf(error)) || signal.aborted) throw error;
    return await openWith(config, parts);
  }
}

/**
 * Only an answer of the server, or of a pooler, can be about the options. Poolers refuse them with SQLSTATEs of many kinds,
 * so those are left out that say something else: an authentication that failed should not be tried twice as often, and
 * a server that is starting up may take the second attempt, without the options.
 */
export function mayConcernOptions(sqlState: string | undefined): boolean {
  return sqlState !== undefined && !/^(28|3D|53|57)/.test(sqlState);
}

async function openWith<Session extends LoneSession>(
  config: ClientConfig,
  { queryTimeoutMs, create, connect, signal, abortMessage }: LoneSessionParts<Session>,
): Promise<Session> {
  const connection = new LoneConnection(config, queryTimeoutMs);
  let session: Session;
  try {
    session = create(connection);
  } catch (error) {
    // The driver may have made a stream before it refused the rest.
    connection.destroy();
    throw error;
  }
  let abort = (): void => undefined;
  // The driver's own promise may never settle once its connection is ended while it connects.
  const aborted = new Promise<never>((_resolve, reject) => (abort = () => reject(new Error(abortMessage))));
  aborted.catch(() => undefined);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    await Promise.race([connect(session), aborted]);
    return session;
  } catch (error) {
    await session.dispose();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** What `stream` may be in a configuration: the driver takes a stream, too, and calls a function with its own settings. */
type Stream = Duplex | ((settings: object) => Duplex);

/** Streams, and not functions, that a session has had: the driver leaves its handlers on a stream, so it serves once. */
const usedStreams = new WeakSet<Duplex>();

/** A connection with limits, whose socket is ours, so that a dead one can be destroyed. */
export class LoneConnection {
  /** For the driver, which connects once with it. */
  readonly config: ClientConfig;
  #socket: Duplex | undefined;

  constructor(config: ClientConfig, queryTimeoutMs: number) {
    const stream = config.stream as Stream | undefined;
    this.config = {
      ...config,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      stream: (settings: object = {}) => (this.#socket = createStream(stream, settings)),
    };
  }

  /** Gives the driver's own `farewell` a moment, and then ends the connection by force. */
  async end(farewell: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, farewellMs)));
    await Promise.race([farewell.catch(() => undefined), tooLong]);
    clearTimeout(timer);
    this.destroy();
  }

  /** Ends the connection by force. */
  destroy(): void {
    this.#socket?.destroy();
  }
}

function createStream(stream: Stream | undefined, settings: object): Duplex {
  if (stream === undefined) return new Socket();
  // In place of the wrapper, which is ours, the settings name the function of the application.
  if (typeof stream === "function") return stream({ ...settings, stream });
  if (usedStreams.has(stream))
    throw new Error("The only stream of the connection has been used; give `stream` a function that makes one");
  usedStreams.add(stream);
  return stream;
}
