import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ClientConfig } from "pg";
import { settledWithin, unlessAborted } from "./race";
import { sqlStateOf } from "./sql-states";

const connectTimeoutMs = 5_000;
/** Longest time for the driver to end a connection. On a dead one it would wait until TCP gives up, many minutes. */
const endTimeoutMs = 200;

/** A session of the server outside any pool, over a {@link DedicatedConnection}. */
export interface DedicatedSession {
  /** Connects, and prepares the session for use. */
  connect(): Promise<void>;
  /** Ends the session, by force if necessary. */
  dispose(): Promise<void>;
}

export interface DedicatedSessionOptions {
  readonly config: ClientConfig;
  /**
   * Startup options for the server, in addition to those of `config`. If a pooler refuses them, the session is opened
   * without them.
   */
  readonly sessionOptions: string;
  /** Longest time for one answer. */
  readonly queryTimeoutMs: number;
  /** Ends the opening, which then rejects with its reason. */
  readonly signal: AbortSignal;
}

/**
 * Opens a session. If its options may have been refused, tries again without them. Disposes of a session that fails.
 */
export async function openDedicatedSession<Session extends DedicatedSession>(
  { config, sessionOptions, queryTimeoutMs, signal }: DedicatedSessionOptions,
  create: (connection: DedicatedConnection) => Session,
): Promise<Session> {
  // First, so that a limit in the application's options overrides it.
  const limit = `-c statement_timeout=${queryTimeoutMs}`;
  const options = [limit, config.options, sessionOptions].filter(Boolean).join(" ");
  try {
    return await openOver(new DedicatedConnection({ ...config, options }, queryTimeoutMs), create, signal);
  } catch (error) {
    if (!mayConcernOptions(sqlStateOf(error)) || signal.aborted) throw error;
    return await openOver(new DedicatedConnection(config, queryTimeoutMs), create, signal);
  }
}

/**
 * Tells whether a server or pooler may have refused startup options. Poolers do so with many SQLSTATEs, so this
 * excludes only those with another meaning, such as a failed authentication or a server that is starting up.
 */
export function mayConcernOptions(sqlState: string | undefined): boolean {
  return sqlState !== undefined && !/^(28|3D|53|57)/.test(sqlState);
}

async function openOver<Session extends DedicatedSession>(
  connection: DedicatedConnection,
  create: (connection: DedicatedConnection) => Session,
  signal: AbortSignal,
): Promise<Session> {
  let session: Session;
  try {
    session = create(connection);
  } catch (error) {
    // The driver may have made a stream before it refused the rest.
    connection.destroy();
    throw error;
  }
  try {
    signal.throwIfAborted();
    // The driver's own promise may never settle if its connection is ended while it connects.
    await unlessAborted(session.connect(), [signal]);
    return session;
  } catch (error) {
    await session.dispose();
    throw error;
  }
}

/** Type of `stream` in a configuration. The driver also accepts a stream, and calls a function with its settings. */
type Stream = Duplex | ((settings: object) => Duplex);

/** Streams that a session has used. The driver leaves its handlers on a stream, so each can be used only once. */
const usedStreams = new WeakSet<Duplex>();

/** A connection with time limits. This package creates its socket, so that a dead one can be destroyed. */
export class DedicatedConnection {
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

  /** Gives the driver a moment to end the connection, and then destroys the socket. */
  async end(ending: Promise<void>): Promise<void> {
    await settledWithin(ending, endTimeoutMs);
    this.destroy();
  }

  destroy(): void {
    this.#socket?.destroy();
  }
}

function createStream(stream: Stream | undefined, settings: object): Duplex {
  if (stream === undefined) return new Socket();
  // The settings name the application's function in place of the wrapper above.
  if (typeof stream === "function") return stream({ ...settings, stream });
  if (usedStreams.has(stream))
    throw new Error("The only stream of the connection has been used; give `stream` a function that makes one");
  usedStreams.add(stream);
  return stream;
}
