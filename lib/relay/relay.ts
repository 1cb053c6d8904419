import type { PoolConfig } from "pg";
import { distinctUntilChanged, map, type Observable, startWith, Subject, Subscription } from "rxjs";
import type { ConnectionPool } from "../database/connection";
import { Database } from "../database/database";
import { SessionConfig, type SessionRole } from "../database/session-config";
import type { Logger } from "../logger";
import { closeSource } from "../notifications/notification-source";
import type { ListenReport, Notifier, NotifierChannel } from "../notifications/notifier";
import { PostgresNotifications } from "../notifications/postgres-notifications";
import { type ResolvedOptions, resolveOptions } from "../options";
import { checkOptions } from "../value/arguments";
import { Leadership, type LeadershipReport } from "./leadership";
import { RelayCounters, Term } from "./term";

export interface RelayOptions {
  /** Carries the notifications, such as `nats({ servers })`, with the settings of the waiting processes. */
  readonly notifier: Notifier;
  /** The schema whose results are announced. Default `public`. */
  readonly schema?: string;
  /**
   * A direct connection for LISTEN and for the lock of the leader, if the pool uses a pooler. Default: the pool's
   * address.
   */
  readonly listen?: { readonly connection: string | PoolConfig };
  /** Default: no logging. */
  readonly logger?: Logger;
}

/**
 * `leader`: forwards notifications. `standby`: ready to take over, or not yet ready. `closed`: `close()` was called.
 */
export type RelayRole = "leader" | "standby" | "closed";

/** State of a relay, and its counters since it was started. */
export interface RelayReport extends Readonly<RelayCounters> {
  /** True if the relay is the leader, or a standby that could take over. */
  readonly ok: boolean;
  readonly role: RelayRole;
  /** Problems, in words; empty if there are none. */
  readonly problems: readonly string[];
  /** The session by which relays agree on a leader. */
  readonly leadership: LeadershipReport;
  /** The listener in Postgres; `idle` on standby. Its reconnects are those of all terms. */
  readonly listen: ListenReport;
  /** The connection of the notifier, such as NATS. */
  readonly notifier: ListenReport & { readonly name: string };
  /** Ids that wait, or are being published. */
  readonly unpublished: number;
  /** Age of the oldest of them, in milliseconds; 0 if there is none. */
  readonly lagMs: number;
  /** Time since the latest notification, in milliseconds; undefined before the first. */
  readonly lastNotificationAgeMs: number | undefined;
}

/** Longest time for which the relay still leads without a connection of the notifier. */
const defaultNotifierGraceMs = 5_000;
const notListening: ListenReport = { status: "idle", reconnects: 0, heartbeatMs: undefined, problem: undefined };

/**
 * Forwards Postgres notifications to a notifier. One relay of a schema is the leader and forwards; the others are
 * standbys.
 */
export class Relay implements AsyncDisposable {
  /** Emits the report now, and whenever the role, a status or a problem has changed. Completes when closed. */
  readonly changes$: Observable<RelayReport>;
  readonly #pool: ConnectionPool;
  readonly #options: ResolvedOptions;
  readonly #notifier: Notifier;
  readonly #counters = new RelayCounters();
  readonly #changed$ = new Subject<void>();
  readonly #leadership: Leadership;
  /** Always connected, so that a new leader need not connect first, and a relay without NATS does not lead. */
  readonly #channel: NotifierChannel;
  readonly #subscriptions = new Subscription();
  #term: Term | undefined;
  #pastReconnects = 0;
  #lastNotificationAt: number | undefined;
  /** Settles once the connections of past terms are closed. */
  #ended: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  #isClosed = false;

  /** @internal Use {@link startRelay}. */
  constructor(pool: ConnectionPool, options: RelayOptions, notifierGraceMs = defaultNotifierGraceMs) {
    checkOptions(options, { notifier: true, schema: true, listen: true, logger: true });
    if ((options.notifier as unknown) === undefined)
      throw new TypeError("notifier: expected an object such as nats({ servers }), got undefined.");
    this.#pool = pool;
    this.#options = resolveOptions(options);
    this.#notifier = options.notifier;
    const { schema, logger } = this.#options;
    const onUnconfirmed = (): void => void (this.#counters.unconfirmed += 1);
    this.#channel = this.#notifier.open({ schema, logger, onUnconfirmed });
    const { source } = this.#channel;
    this.#leadership = new Leadership(this.#sessionConfig("relay"), schema, source, notifierGraceMs);
    this.changes$ = this.#changed$.pipe(
      startWith(undefined),
      map(() => this.report),
      distinctUntilChanged((one, other) => identityOf(one) === identityOf(other)),
    );
    this.#subscriptions.add(this.#leadership.changes$.subscribe(() => this.#followLead()));
    this.#subscriptions.add(source.status$.subscribe(() => this.#changed$.next()));
    source.demand();
    this.#leadership.start();
  }

  get report(): RelayReport {
    const counters: Readonly<RelayCounters> = structuredClone(this.#counters);
    const listen = this.#term?.listen ?? notListening;
    const lastNotificationAt = this.#term?.lastNotificationAt ?? this.#lastNotificationAt;
    const problems = this.#problems();
    return {
      ...counters,
      ok: problems.length === 0,
      role: this.#role,
      problems,
      leadership: this.#leadership.report,
      listen: { ...listen, reconnects: listen.reconnects + this.#pastReconnects },
      notifier: { name: this.#notifier.name, ...this.#channel.source.report },
      invalid: counters.invalid + (this.#term?.invalid ?? 0),
      unpublished: this.#term?.unpublished ?? 0,
      lagMs: this.#term?.lagMs ?? 0,
      lastNotificationAgeMs: lastNotificationAt === undefined ? undefined : performance.now() - lastNotificationAt,
    };
  }

  /** Publishes what it has received, hands over to another relay, and disconnects, within a few seconds. Idempotent. */
  async close(): Promise<void> {
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #role(): RelayRole {
    if (this.#isClosed) return "closed";
    return this.#term === undefined ? "standby" : "leader";
  }

  #sessionConfig(role: SessionRole): SessionConfig {
    const { listen } = this.#options;
    return new SessionConfig(this.#pool, typeof listen === "object" ? listen.connection : undefined, role);
  }

  #followLead(): void {
    const { isLeader, lossReason } = this.#leadership;
    if (isLeader && this.#term === undefined) this.#beginTerm();
    else if (!isLeader && this.#term !== undefined) this.#endTerm(this.#term, lossReason);
    this.#changed$.next();
  }

  #beginTerm(): void {
    const { schema, logger } = this.#options;
    const database = new Database(this.#pool, schema, false);
    const source = new PostgresNotifications({ config: this.#sessionConfig("listener"), schema, database, logger });
    logger.info(`Relaying the notifications of schema "${schema}" over ${this.#notifier.name}.`);
    this.#term = new Term(source, this.#channel.publisher, logger, this.#counters);
    source.status$.subscribe(() => this.#changed$.next());
  }

  /** Does not wait for a connection that is slow to close, so that the next term can begin. */
  #endTerm(term: Term, reason: string): void {
    this.#term = undefined;
    this.#pastReconnects += term.listen.reconnects;
    this.#counters.invalid += term.invalid;
    this.#lastNotificationAt = term.lastNotificationAt ?? this.#lastNotificationAt;
    this.#ended = Promise.all([this.#ended, term.end()]);
    if (this.#closing === undefined) this.#options.logger.warn(`Standing by: ${reason}.`);
  }

  /**
   * In this order: stop receiving, publish the rest, release the lead. The next leader asks all processes to re-read
   * everything, which covers what is stored in between.
   */
  async #close(): Promise<void> {
    await this.#term?.finish();
    await this.#leadership.stop(new Error("The relay was closed"));
    await Promise.all([this.#ended, closeSource(this.#channel.source, this.#options.logger)]);
    this.#subscriptions.unsubscribe();
    this.#isClosed = true;
    this.#changed$.next();
    this.#changed$.complete();
  }

  #problems(): string[] {
    if (this.#isClosed) return ["The relay is closed."];
    const problems: string[] = [];
    const { isConnected, problem } = this.#leadership.report;
    if (!isConnected) problems.push(`Cannot reach the database: ${problem ?? "no reason was given"}.`);
    const notifier = this.#channel.source.report;
    if (notifier.status !== "listening")
      problems.push(`Cannot reach ${this.#notifier.name}: ${notifier.problem ?? "not connected yet"}.`);
    else if (notifier.problem !== undefined) problems.push(`${notifier.problem}.`);
    const listen = this.#term?.listen;
    if (listen !== undefined && listen.status !== "listening")
      problems.push(`Not listening: ${listen.problem ?? "not connected yet"}.`);
    return problems.map((each) => each.replace(/\.\.$/, "."));
  }
}

/** The part of a report whose changes are emitted. */
function identityOf({ role, problems, listen, notifier, leadership }: RelayReport): string {
  return JSON.stringify([role, problems, listen.status, notifier.status, leadership.isConnected]);
}

/**
 * Forwards the notifications of Postgres, which the triggers send for every writer, to a notifier. Survives all
 * failures until it is closed. Uses a connection of the pool from time to time, and never ends the pool.
 *
 * @throws TypeError or RangeError for invalid options.
 */
export function startRelay(pool: ConnectionPool, options: RelayOptions): Relay {
  return new Relay(pool, options);
}
