import type { PoolConfig } from "pg";
import type { ConnectionPool } from "../database/connection";
import { distinctUntilChanged, map, type Observable, Subject, startWith, Subscription } from "rxjs";
import { Database } from "../database/database";
import { SessionConfig, type SessionRole } from "../database/session-config";
import type { Notifier, NotificationSource, ListenReport } from "../notifications/notifier";
import { PostgresNotifications } from "../notifications/postgres-notifications";
import type { Logger } from "../logger";
import { type ResolvedOptions, resolveOptions } from "../options";
import { typeName } from "../value/arguments";
import { RelayCounters } from "./counters";
import { Leadership } from "./leadership";
import type { RelayReport, RelayRole } from "./report";
import { Term } from "./term";

export interface RelayOptions {
  /** Sends the notifications on, such as `nats({ servers })`; with the settings of the waiting processes. */
  readonly notifier: Notifier;
  /** The schema whose results are announced. Default `public`. */
  readonly schema?: string;
  /** A direct connection for LISTEN, and for who leads, where the pool goes through a pooler. Default: the pool's own address. */
  readonly listen?: { readonly connection: string | PoolConfig };
  /** Default: silent. */
  readonly logger?: Logger;
}

export interface RelayTimes {
  /** Longest time without a connection of the notifier in which it still leads: another may have one. */
  readonly notifierGraceMs: number;
}

const defaultTimes: RelayTimes = { notifierGraceMs: 5_000 };
const notListening: ListenReport = { status: "idle", reconnects: 0, heartbeatMs: undefined, problem: undefined };

/** Relays Postgres notifications through a notifier. Of those on one schema of a database one does so, the others stand by. */
export class Relay implements AsyncDisposable {
  /** Its report now, and again whenever its role, a status or a problem has changed. Completes when closed. */
  readonly changes$: Observable<RelayReport>;
  readonly #pool: ConnectionPool;
  readonly #times: RelayTimes;
  readonly #options: ResolvedOptions;
  readonly #notifier: Notifier;
  readonly #counters = new RelayCounters();
  readonly #changed$ = new Subject<void>();
  readonly #leadership: Leadership;
  /** A connection of the notifier that is always there: it shows whether leading is of any use, and who takes over need not connect first. */
  readonly #connection: NotificationSource;
  readonly #subscription = new Subscription();
  #notifierLostAt = -Infinity;
  #term: Term | undefined;
  readonly #endings = new Set<Promise<void>>();
  #closing: Promise<void> | undefined;
  #isClosed = false;

  /** @internal Use {@link startRelay}. */
  constructor(pool: ConnectionPool, options: RelayOptions, times: RelayTimes = defaultTimes) {
    if (typeof (options as unknown) !== "object" || (options as unknown) === null)
      throw new TypeError(`options: expected an object, got ${typeName(options)}.`);
    if ((options.notifier as unknown) === undefined)
      throw new TypeError("notifier: expected an object such as nats({ servers }), got undefined.");
    this.#pool = pool;
    this.#times = times;
    this.#options = resolveOptions(options);
    this.#notifier = options.notifier;
    this.#connection = this.#open().source;
    const { schema } = this.#options;
    this.#leadership = new Leadership({
      config: this.#sessionConfig("relay"),
      schema,
      mayLead: () => this.#mayLead(),
      onGained: () => this.#begin(),
      onLost: (reason) => this.#standBy(reason),
      onChange: () => this.#changed$.next(),
    });
    this.changes$ = this.#changed$.pipe(
      startWith(undefined),
      map(() => this.report),
      distinctUntilChanged((one, other) => identityOf(one) === identityOf(other)),
    );
    this.#subscription.add(this.#connection.status$.subscribe((status) => this.#onNotifier(status === "listening")));
    this.#connection.demand();
    this.#leadership.start();
  }

  get report(): RelayReport {
    const counters = this.#counters;
    const listen = this.#term?.listen ?? notListening;
    const problems = this.#problems();
    return {
      ok: problems.length === 0,
      role: this.#role,
      problems,
      leadership: this.#leadership.report,
      listen: { ...listen, reconnects: listen.reconnects + counters.listenReconnects },
      notifier: { name: this.#notifier.name, ...this.#connection.report },
      terms: counters.terms,
      notifications: { ...counters.notifications },
      invalid: counters.invalid + (this.#term?.invalid ?? 0),
      ids: { ...counters.ids },
      rescans: { ...counters.rescans },
      unconfirmed: counters.unconfirmed,
      unpublished: this.#term?.unpublished ?? 0,
      lagMs: this.#term?.lagMs ?? 0,
      lastNotificationAgeMs:
        counters.lastNotificationAt === undefined ? undefined : performance.now() - counters.lastNotificationAt,
    };
  }

  /** Tells what it has heard of, lets another take over, and leaves nothing connected. Takes a few seconds at the most. May be called again. */
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

  #open(): ReturnType<Notifier["open"]> {
    const { schema, logger } = this.#options;
    return this.#notifier.open({ schema, logger, onUnconfirmed: () => (this.#counters.unconfirmed += 1) });
  }

  #sessionConfig(role: SessionRole): SessionConfig {
    const { listen } = this.#options;
    return new SessionConfig(this.#pool, typeof listen === "object" ? listen.connection : undefined, role);
  }

  #mayLead(): boolean {
    if (this.#connection.report.status === "listening") return true;
    return this.#term !== undefined && performance.now() - this.#notifierLostAt < this.#times.notifierGraceMs;
  }

  #onNotifier(isConnected: boolean): void {
    if (isConnected) this.#notifierLostAt = Infinity;
    else if (this.#notifierLostAt === Infinity) this.#notifierLostAt = performance.now();
    this.#changed$.next();
  }

  #begin(): void {
    const { schema, logger } = this.#options;
    const database = new Database(this.#pool, schema, false);
    const source = new PostgresNotifications({ config: this.#sessionConfig("listener"), schema, database, logger });
    logger.info(`Relays what is announced in schema "${schema}" over ${this.#notifier.name}.`);
    this.#term = new Term(source, this.#open(), this.#counters, () => this.#changed$.next());
    this.#changed$.next();
  }

  #standBy(reason: string): void {
    const term = this.#term;
    this.#term = undefined;
    if (term !== undefined) this.#end(term);
    if (this.#closing === undefined) this.#options.logger.warn(`Stands by: ${reason}.`);
    this.#changed$.next();
  }

  /** A listener that is still going is no reason to wait with the next one. */
  #end(term: Term): void {
    const ending = term.end().finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }

  /** Its order: hear no more, tell what there is, let another lead. What comes in between, that one asks all to look for. */
  async #close(): Promise<void> {
    await this.#term?.finish();
    await this.#leadership.close();
    await Promise.all([...this.#endings, this.#connection.close()]);
    this.#subscription.unsubscribe();
    this.#isClosed = true;
    this.#changed$.next();
    this.#changed$.complete();
  }

  #problems(): string[] {
    if (this.#isClosed) return ["It is closed."];
    const problems: string[] = [];
    const { isConnected, problem } = this.#leadership.report;
    if (!isConnected) problems.push(`The database is not reached: ${problem ?? "no reason was given"}.`);
    const notifier = this.#connection.report;
    if (notifier.status !== "listening")
      problems.push(`${this.#notifier.name} is not reached: ${notifier.problem ?? "not connected yet"}.`);
    if (this.#term === undefined) return problems;
    if (notifier.status === "listening" && this.#term.problem !== undefined) problems.push(`${this.#term.problem}.`);
    const { listen } = this.#term;
    if (listen.status !== "listening") problems.push(`It does not listen: ${listen.problem ?? "not connected yet"}.`);
    return problems.map((each) => each.replace(/\.\.$/, "."));
  }
}

/** What has to differ for a report to be told of. */
function identityOf({ role, problems, listen, notifier, leadership }: RelayReport): string {
  return JSON.stringify([role, problems, listen.status, notifier.status, leadership.isConnected]);
}

/**
 * Relays what is announced in Postgres, by the triggers and whoever writes, through a notifier. Goes on, through whatever breaks, until it is closed. It never
 * ends the pool, of which it needs one connection now and then.
 *
 * @throws TypeError or RangeError for options that do not fit.
 */
export function startRelay(pool: ConnectionPool, options: RelayOptions): Relay {
  return new Relay(pool, options);
}
