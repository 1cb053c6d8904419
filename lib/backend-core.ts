import { setMaxListeners } from "node:events";
import { filter, firstValueFrom } from "rxjs";
import { Database } from "./database/database";
import type { OwnPool } from "./database/own-pool";
import type { ConnectionPool } from "./database/connection";
import { ServerClock } from "./database/server-clock";
import { SessionConfig } from "./database/session-config";
import { settledWithin } from "./database/race";
import { Deadlines } from "./waiting/deadlines";
import { BackendClosedError, DatabaseError, SchemaError } from "./errors";
import { Claims } from "./groups/claims";
import { groupStatements } from "./groups/group-statements";
import { GroupWriter } from "./groups/group-writer";
import { Groups } from "./groups/groups";
import { channelOf } from "./notifications/payload";
import type { NotificationPublisher, NotificationSource } from "./notifications/notifier";
import { NoNotifications } from "./notifications/notification-source";
import { PostgresNotifications } from "./notifications/postgres-notifications";
import type { ResolvedOptions } from "./options";
import { Pruner } from "./admin/pruner";
import type { Stats } from "./admin/stats";
import { latestVersion } from "./schema/migration-files";
import { newerSchemaError, SchemaCheck } from "./schema/schema-check";
import { Telemetry } from "./telemetry/telemetry";
import { Announcements } from "./results/announcements";
import { DeferredPublisher } from "./results/deferred-publisher";
import { type ResultStatements, resultStatements } from "./results/statements";
import { Writer } from "./results/writer";
import type { SourceContext } from "./waiting/keyed-source";
import { ReadProblems } from "./waiting/read-problems";
import { Reader } from "./results/reader";
import { Results } from "./results/results";
import type { WakeCause } from "./waiting/router";
import { Sweep } from "./waiting/sweep";

/** How long `close` waits for stores that are under way. */
const closeLimitMs = 5_000;
/** The last part of it, in which nothing more is sent. */
const closeQuietMs = 2_000;

/** The parts behind a backend, put together; the backends that `withTtl` makes share one. Knows the order in which they end. */
export class BackendCore {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly clock: ServerClock;
  readonly statements: ResultStatements;
  readonly schemaCheck: SchemaCheck;
  readonly notifications: NotificationSource;
  readonly writer: Writer;
  readonly results: Results;
  readonly reader: Reader;
  readonly groupWriter: GroupWriter;
  readonly groups: Groups;
  readonly claims: Claims;
  readonly pruner: Pruner;
  readonly announcements: Announcements;
  readonly #closed = new AbortController();
  /** Aborts once nothing more is sent. */
  readonly closed = this.#closed.signal;
  readonly problems: ReadProblems;
  /** Absent where it is off, so that it costs a look. */
  readonly telemetry: Telemetry | undefined;
  readonly #stopObserving: (() => void) | undefined;
  readonly #ownPool: OwnPool | undefined;
  readonly #deadlines = new Deadlines();
  readonly #sweep: Sweep;
  readonly #wokenBy: Record<WakeCause, number> = {
    read: 0,
    notification: 0,
    inline: 0,
    reconnect: 0,
    sweep: 0,
    deadline: 0,
  };
  #announcementsFailed = 0;
  #closing: Promise<void> | undefined;

  constructor(pool: ConnectionPool, options: ResolvedOptions, ownPool?: OwnPool) {
    this.options = options;
    this.#ownPool = ownPool;
    // Who gives LISTEN an address of its own has a pooler before the pool.
    this.database = new Database(pool, options.schema, typeof options.listen === "boolean");
    this.clock = new ServerClock(this.database);
    this.statements = resultStatements(options);
    this.schemaCheck = new SchemaCheck(this.database, options.schema, latestVersion());
    const { source, publisher } = this.#openChannel(pool);
    this.notifications = source;
    this.announcements = new Announcements(options.notify, this.#createDeferredPublisher(), publisher);
    this.problems = new ReadProblems(options.logger);
    const telemetry = Telemetry.create(options);
    this.telemetry = telemetry;
    this.#sweep = new Sweep(this.notifications, options.sweepIntervalMs);
    // Node warns of a leak at the eleventh listener; each call under way has one.
    setMaxListeners(0, this.closed);
    const { database, clock, schemaCheck } = this;
    const common = {
      options,
      database,
      clock,
      schemaCheck,
      closed: this.closed,
      deadlines: this.#deadlines,
      announcements: this.announcements,
    };
    const context: SourceContext = {
      ...common,
      sweep: this.#sweep,
      problems: this.problems,
      selection: source.selection,
      countWake: (cause) => (this.#wokenBy[cause] += 1),
      countBatch: telemetry?.batchesOf("read"),
      isObserved: telemetry !== undefined,
    };
    this.reader = new Reader(this.#deadlines, options.codec);
    this.results = new Results(context);
    this.groups = new Groups(context);
    this.writer = new Writer({
      ...common,
      isTracing: telemetry?.isTracing ?? false,
      countBatch: telemetry?.batchesOf("store"),
    });
    this.groupWriter = new GroupWriter({ ...common, countBatch: telemetry?.batchesOf("group") });
    this.claims = new Claims({ ...common, statements: groupStatements(options) });
    this.pruner = new Pruner(database, options);
    this.#stopObserving = telemetry?.observe(() => this.stats());
  }

  /** @throws {@link BackendClosedError} */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new BackendClosedError();
  }

  /** Fails fast where an address is wrong; a schema that is yet to be migrated is fine. */
  async checkReachable(): Promise<void> {
    try {
      const version = await this.schemaCheck.version(closeLimitMs);
      if (version !== undefined && version > latestVersion())
        throw newerSchemaError(this.options.schema, version, latestVersion());
    } catch (error) {
      if (!(error instanceof SchemaError) || error.reason === "newer") throw toRefusal(error);
    }
  }

  async ready(): Promise<void> {
    this.assertOpen();
    this.#sweep.enter();
    try {
      const isDecided = filter(
        (status: string) => status === "listening" || status === "polling" || status === "closed",
      );
      if ((await firstValueFrom(this.notifications.status$.pipe(isDecided))) === "closed")
        throw new BackendClosedError();
      // Otherwise the first results that come inline could not be judged, and would be read.
      if (this.options.inlineResultBytes > 0) await this.clock.ready(closeLimitMs).catch(() => undefined);
    } finally {
      this.#sweep.leave();
    }
  }

  async close(drainMs: number): Promise<void> {
    this.#closing ??= this.#close(drainMs);
    await this.#closing;
  }

  stats(): Stats {
    const { results, groups, notifications } = this;
    const { status, reconnects, heartbeatMs } = notifications.report;
    const [resultReads, groupReads] = [results.loader.counters, groups.loader.counters];
    return {
      status,
      waiting: results.router.size,
      waitingGroups: groups.router.size,
      feeds: results.feed.subscribers + groups.subscribers,
      wokenBy: { ...this.#wokenBy },
      caughtBySweep: this.#sweep.caught,
      sweeps: this.#sweep.sweeps,
      queries: this.database.queries,
      stores: this.writer.counters,
      groupWrites: this.groupWriter.counters,
      reads: {
        statements: resultReads.statements + groupReads.statements,
        retries: resultReads.retries + groupReads.retries,
        queued: resultReads.queued + groupReads.queued,
        inFlight: resultReads.inFlight + groupReads.inFlight,
      },
      notifications: { relevant: this.#sweep.relevant, invalid: notifications.invalid },
      announcementsFailed: this.#announcementsFailed,
      reconnects,
      heartbeatMs,
    };
  }

  /** Its order: nobody new, those who wait, those who write, what listens, what connects. */
  async #close(drainMs: number): Promise<void> {
    const readers = [this.results, this.groups];
    const draining = [...readers, this.reader];
    if (drainMs > 0) await settledWithin(Promise.all(draining.map(async (each) => each.drain())), drainMs);
    for (const each of readers) each.close(new BackendClosedError());
    this.groups.changes.close();
    this.pruner.close();
    const endsAt = performance.now() + closeLimitMs;
    await settledWithin(this.#drainWrites(endsAt), closeLimitMs - closeQuietMs);
    this.writer.close();
    this.groupWriter.close();
    // Nothing more is sent from here on. What was sent has the rest of the time: a statement that is still running could commit after `close` has resolved.
    await settledWithin(
      Promise.all([this.writer.drain(endsAt), this.groupWriter.drain(endsAt)]),
      endsAt - performance.now(),
    );
    this.announcements.close();
    this.clock.close();
    this.#closed.abort(new BackendClosedError());
    this.#deadlines.expireAll(new BackendClosedError());
    this.#sweep.close();
    await this.notifications.close();
    await this.database.close();
    await this.#ownPool?.end();
    this.#stopObserving?.();
  }

  async #drainWrites(endsAt: number): Promise<void> {
    await Promise.all([this.writer.drain(endsAt), this.groupWriter.drain(endsAt)]);
    await this.announcements.drain();
  }

  #openChannel(pool: ConnectionPool): {
    readonly source: NotificationSource;
    readonly publisher?: NotificationPublisher;
  } {
    const { notifier, listen, schema, logger } = this.options;
    if (notifier !== undefined)
      return notifier.open({ schema, logger, onUnconfirmed: () => (this.#announcementsFailed += 1) });
    if (listen === false) return { source: new NoNotifications() };
    const config = new SessionConfig(pool, listen === true ? undefined : listen.connection, "listener");
    return { source: new PostgresNotifications({ config, schema, database: this.database, logger }) };
  }

  #createDeferredPublisher(): DeferredPublisher {
    const { schema, logger } = this.options;
    return new DeferredPublisher(this.database, this.statements, channelOf(schema), (error, isFirst) => {
      this.#announcementsFailed += 1;
      if (!isFirst) return;
      logger.warn(
        `Announcements are dropped until they succeed again; waiters find their results by sweeping. ${String(error)}`,
      );
    });
  }
}

/**
 * A wrong password, or a database that is missing: for work under way it may be put right, as it is after a failover, but for a first connection it is an answer.
 */
function toRefusal(error: unknown): unknown {
  if (!(error instanceof DatabaseError) || !/^(28|3D)/.test(error.sqlState ?? "")) return error;
  return new DatabaseError(error.message, error.sqlState, false, { cause: error.cause, origin: error.origin });
}
