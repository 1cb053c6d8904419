import { crc32 } from "node:zlib";
import type { NodeConnectionOptions } from "@nats-io/transport-node";
import type { NotificationKind } from "../notifications/notifier";
import { channelOf } from "../notifications/payload";
import { checkInteger, typeName } from "../value/arguments";

/** Options of the client that are decided here, since this package supervises the connection. */
type Decided =
  | "reconnect"
  | "maxReconnectAttempts"
  | "reconnectTimeWait"
  | "reconnectJitter"
  | "reconnectJitterTLS"
  | "reconnectDelayHandler"
  | "waitOnFirstConnect"
  | "ignoreAuthErrorAbort"
  | "maxPingOut"
  | "pingInterval"
  | "timeout";

/** Options of `connect` of `@nats-io/transport-node`, without those for reconnecting, which never gives up. */
export interface NatsOptions extends Omit<NodeConnectionOptions, Decided> {
  /** First tokens of every subject. All processes must use the same. Default `kojin`. */
  readonly prefix?: string;
  /**
   * Number of subjects that ids are divided among. For each result that a process waits for, it receives the
   * notifications of about `1 / shards` of all results. All processes must use the same number. 1 to 4096; default 256.
   */
  readonly shards?: number;
  /**
   * Time between two pings, in milliseconds. A connection that does not answer within half that time is replaced. 100
   * or more; default 10 000.
   */
  readonly pingIntervalMs?: number;
  /** Time limit for one server to answer while connecting, in milliseconds. 100 or more; default 5000. */
  readonly timeoutMs?: number;
}

/** The options with every default filled in. */
export interface ResolvedNatsOptions {
  readonly prefix: string;
  readonly shards: number;
  readonly pingIntervalMs: number;
  readonly timeoutMs: number;
  /** At least one address. */
  readonly servers: readonly string[];
  readonly client: NodeConnectionOptions;
}

const maxShards = 4_096;
const longestPrefix = 128;

/** Fills in the defaults; throws a `TypeError` or `RangeError` for invalid options. */
export function resolveNatsOptions(options: NatsOptions = {}): ResolvedNatsOptions {
  if (typeof options !== "object" || (options as unknown) === null)
    throw new TypeError(`nats: expected an object, got ${typeName(options)}.`);
  checkNames(options);
  const { prefix = "kojin", shards = 256, pingIntervalMs = 10_000, timeoutMs = 5_000, ...rest } = options;
  const { servers, port, ...client } = rest;
  checkPrefix(prefix);
  checkInteger(shards, "shards", 1, maxShards);
  checkInteger(pingIntervalMs, "pingIntervalMs", 100, 2 ** 31 - 1);
  checkInteger(timeoutMs, "timeoutMs", 100, 2 ** 31 - 1);
  return {
    prefix,
    shards,
    pingIntervalMs,
    timeoutMs,
    servers: toServers(servers, port),
    client: { name: "kojin-postgres", noAsyncTraces: true, ...client },
  };
}

/** Rejects two names of the client that would have no effect here. */
function checkNames(options: object): void {
  for (const name of ["pingInterval", "timeout"])
    if (name in options) throw new TypeError(`${name}: expected ${name}Ms, in milliseconds.`);
}

function checkPrefix(prefix: unknown): void {
  if (typeof prefix !== "string") throw new TypeError(`prefix: expected a string, got ${typeName(prefix)}.`);
  if (prefix.length > longestPrefix || !/^[^\s.*>\p{C}]+(?:\.[^\s.*>\p{C}]+)*$/u.test(prefix))
    throw new RangeError(
      `prefix: expected tokens with dots between them, without spaces, * and >, got ${JSON.stringify(prefix)}.`,
    );
}

function toServers(servers: unknown, port: unknown): readonly string[] {
  if (port !== undefined) {
    checkInteger(port, "port", 1, 65_535);
    if (servers !== undefined) throw new TypeError("port: expected either servers or port, got both.");
    return [`127.0.0.1:${port}`];
  }
  const given: unknown[] = Array.isArray(servers) ? servers : [servers ?? "127.0.0.1:4222"];
  if (given.length === 0) throw new RangeError("servers: expected at least one address, got none.");
  return given.map((server) => {
    if (typeof server !== "string") throw new TypeError(`servers: expected addresses, got ${typeName(server)}.`);
    addressOf(server);
    return server;
  });
}

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

const defaultPort = 4_222;

/** Parses an address such as `nats://host:4222`, `tls://host` or `host:4222`. */
export function addressOf(server: string): ServerAddress {
  const text = server.includes("://") ? server : `nats://${server}`;
  // The text itself is not repeated: it may contain a password.
  if (!URL.canParse(text)) throw new TypeError("servers: expected an address such as nats://host:4222.");
  const { protocol, hostname, port } = new URL(text);
  if (hostname === "") throw new TypeError("servers: expected an address such as nats://host:4222.");
  if (protocol === "ws:" || protocol === "wss:")
    throw new TypeError("servers: expected nats:// or tls://, got an address for WebSockets.");
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? defaultPort : Number(port) };
}

/**
 * Names the subjects of one schema: `<prefix>.<channel>.tasks.<shard>`, `….groups.<shard>` and `….rescan`. Everything
 * is also published to `….tasks.all` or `….groups.all`, in as few messages as possible, for processes that would
 * otherwise need most shards. Writers and waiters compute the same names.
 */
export class Subjects {
  readonly shards: number;
  /** A message on it asks processes to re-read everything they wait for. */
  readonly rescan: string;
  readonly #base: string;

  constructor({ prefix, shards }: Pick<ResolvedNatsOptions, "prefix" | "shards">, schema: string) {
    // As in Postgres, a hash stands for the schema, whose name may contain dots, spaces and wildcards.
    this.#base = `${prefix}.${channelOf(schema)}`;
    this.shards = shards;
    this.rescan = `${this.#base}.rescan`;
  }

  shardOf(id: string): number {
    return crc32(id) % this.shards;
  }

  shard(kind: NotificationKind, shard: number): string {
    return `${this.#base}.${kind}.${shard}`;
  }

  all(kind: NotificationKind): string {
    return `${this.#base}.${kind}.all`;
  }

  /** Tells whether a subject belongs to the schema. */
  has(subject: string): boolean {
    return subject.startsWith(`${this.#base}.`);
  }
}
