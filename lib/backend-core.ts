import { setMaxListeners } from "node:events";
import { filter, firstValueFrom } from "rxjs";
import { Pruner } from "./admin/pruner";
import type { Stats } from "./admin/stats";
import { ChunkStreams } from "./chunks/chunk-streams";
import { ChunkWriter } from "./chunks/chunk-writer";
import type { ConnectionPool } from "./database/connection";
import { Database } from "./database/database";
import type { OwnPool } from "./database/own-pool";
import { settledWithin } from "./database/race";
import { ServerClock } from "./database/server-clock";
import { SessionConfig } from "./database/session-config";
import { BackendClosedError, DatabaseError, SchemaError } from "./errors";
import { GroupWriter } from "./groups/group-writer";
import { Groups } from "./groups/groups";
import { closeSource, NoNotifications } from "./notifications/notification-source";
import type { NotificationPublisher, NotificationSource } from "./notifications/notifier";
import { PostgresNotifications } from "./notifications/postgres-notifications";
import type { ResolvedOptions } from "./options";
import { Announcements } from "./results/announcements";
import { Expectations } from "./results/expectations";
import { Reader } from "./results/reader";
import { Results } from "./results/results";
import { TaskReads, type TaskSource } from "./results/task-reads";
import { Writer } from "./results/writer";
import { refuseNewer, SchemaCheck } from "./schema/schema-check";
import { Telemetry } from "./telemetry/telemetry";
import { Deadlines } from "./waiting/deadlines";
import type { SourceContext } from "./waiting/keyed-source";
import type { ReadCounters } from "./waiting/loader";
import { ReadProblems } from "./waiting/read-problems";
import type { WakeCause } from "./waiting/router";
import { Sweep } from "./waiting/sweep";
import { watch$ } from "./waiting/waits";

/** Longest time that `close` waits for writes. */
const closeLimitMs = 5_000;
/** Last part of that time, in which nothing more is sent. */
const closeQuietMs = 2_000;

/** Connects the parts of a backend, and closes them in order. The views that `withTtl` returns share one core. */
export class BackendCore {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly clock: ServerClock;
  readonly schemaCheck: SchemaCheck;
  readonly notifications: NotificationSource;
  readonly writer: Writer;
  readonly results: Results;
  readonly reader: Reader;
  readonly tasks: TaskReads;
  readonly expectations: Expectations;
  readonly groupWriter: GroupWriter;
  readonly groups: Groups;
  readonly chunkWriter: ChunkWriter;
  readonly chunks: ChunkStreams;
  readonly pruner: Pruner;
  readonly announcements: Announcements;
  readonly #closed = new AbortController();
  /** Aborts once nothing more is sent. */
  readonly closed: AbortSignal = this.#closed.signal;
  readonly problems: ReadProblems;
  /** Undefined if telemetry is off, so that it costs nothing. */
  readonly telemetry: Telemetry | undefined;
  readonly #stopObserving: (() => void) | undefined;
  readonly #ownPool: OwnPool | undefined;
  readonly #deadlines: Deadlines;
  readonly #sweep: Sweep;
  readonly #wokenBy: Record<WakeCause, number> = {
    read: 0,
    notification: 0,
    inline: 0,
    reconnect: 0,
    sweep: 0,
    deadline: 0,
  };
  #unconfirmed = 0;
  #closing: Promise<void> | undefined;

  constructor(pool: ConnectionPool, options: ResolvedOptions, ownPool?: OwnPool) {
    this.options = options;
    this.#ownPool = ownPool;
    this.#deadlines = new Deadlines(undefined, options.longStackTraces);
    // A separate connection for LISTEN means that the pool connects through a pooler.
    this.database = new Database(pool, options.schema, typeof options.listen === "boolean", ownPool !== undefined);
    this.clock = new ServerClock(this.database);
    this.schemaCheck = new SchemaCheck(this.database, options.schema);
    const { source, publisher } = this.#openChannel(pool);
    this.notifications = source;
    this.announcements = new Announcements(this.database, options, publisher);
    this.problems = new ReadProblems(options.logger);
    const telemetry = Telemetry.create(options);
    this.telemetry = telemetry;
    this.#sweep = new Sweep(this.notifications, options.sweepIntervalMs);
    // Node warns of a leak at the eleventh listener, and each running call has one.
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
      wokenBy: this.#wokenBy,
      countBatch: telemetry?.batchesOf("read"),
      isObserved: telemetry !== undefined,
    };
    this.reader = new Reader(this.#deadlines, options.codec);
    this.results = new Results(context);
    this.expectations = new Expectations(context);
    this.tasks = this.#createTaskReads(telemetry);
    this.groups = new Groups(context);
    this.chunks = new ChunkStreams(context);
    this.writer = new Writer({
      ...common,
      isTracing: telemetry?.isTracing ?? false,
      countBatch: telemetry?.batchesOf("store"),
    });
    this.groupWriter = new GroupWriter({ ...common, countBatch: telemetry?.batchesOf("group") });
    this.chunkWriter = new ChunkWriter({ ...common, countBatch: telemetry?.batchesOf("emit") });
    this.pruner = new Pruner(database, options);
    this.#stopObserving = telemetry?.observe(() => this.stats());
  }

  /** @throws {@link BackendClosedError} */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new BackendClosedError();
  }

  /** Rejects if the database cannot be reached or its schema is newer. Accepts a schema that is not yet migrated. */
  async checkReachable(): Promise<void> {
    try {
      const version = await this.schemaCheck.version(closeLimitMs);
      if (version !== undefined) refuseNewer(this.options.schema, version);
    } catch (error) {
      if (!(error instanceof SchemaError) || error.reason === "newer") throw toPermanent(error);
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
      // Without the server's time the age of the first inline results is unknown, and they would have to be read.
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
    const { results, groups, chunks, expectations, notifications } = this;
    const { status, reconnects, heartbeatMs } = notifications.report;
    const reads = [results, groups, chunks, expectations].map(({ loader }) => loader.counters);
    const sum = (counter: keyof ReadCounters): number => reads.reduce((total, each) => total + each[counter], 0);
    return {
      status,
      waiting: results.router.size,
      waitingGroups: groups.router.size,
      waitingChunks: chunks.router.size,
      feeds: results.feed.subscribers + groups.subscribers,
      wokenBy: { ...this.#wokenBy },
      caughtBySweep: this.#sweep.caught,
      sweeps: this.#sweep.sweeps,
      queries: this.database.queries,
      stores: this.writer.counters,
      groupWrites: this.groupWriter.counters,
      emits: this.chunkWriter.counters,
      reads: {
        statements: sum("statements"),
        retries: sum("retries"),
        queued: sum("queued"),
        inFlight: sum("inFlight"),
      },
      notifications: { relevant: this.#sweep.relevant, invalid: notifications.invalid },
      announcementsFailed: this.announcements.failed + this.#unconfirmed,
      reconnects,
      heartbeatMs,
    };
  }

  // In this order: waits and streams, writes, the listener, connections.
  async #close(drainMs: number): Promise<void> {
    const draining = [this.results, this.groups, this.chunks, this.reader];
    if (drainMs > 0) await settledWithin(Promise.all(draining.map(async (each) => each.drain())), drainMs);
    for (const each of [this.results, this.groups, this.chunks]) each.close(new BackendClosedError());
    this.pruner.close();
    await this.#closeWrites(performance.now() + closeLimitMs);
    this.clock.close();
    this.#closed.abort(new BackendClosedError());
    this.#deadlines.end(new BackendClosedError());
    this.#sweep.close();
    await closeSource(this.notifications, this.options.logger);
    await this.database.close();
    await this.#ownPool?.end();
    this.#stopObserving?.();
  }

  async #closeWrites(endsAt: number): Promise<void> {
    const writers = [this.writer, this.groupWriter, this.chunkWriter];
    const drainWriters = async (): Promise<unknown> => Promise.all(writers.map(async (each) => each.drain(endsAt)));
    await settledWithin(
      drainWriters().then(() => this.announcements.drain()),
      closeLimitMs - closeQuietMs,
    );
    for (const each of writers) each.close();
    // Nothing more is sent from here on. Statements already sent get the rest of the time; otherwise they could still
    // commit after `close` has resolved.
    await settledWithin(drainWriters(), endsAt - performance.now());
    this.announcements.close();
  }

  #createTaskReads(telemetry: Telemetry | undefined): TaskReads {
    const { results, expectations } = this;
    const source: TaskSource = {
      deadlines: this.#deadlines,
      assertOpen: () => this.assertOpen(),
      load: (taskId) => results.loader.load(taskId, "read"),
      exists: async (taskId) => (await expectations.loader.load(taskId, "read")) === true,
      watch$: (taskId, limits) => watch$(results, taskId, limits),
      first: telemetry === undefined ? (_taskId, stored$) => firstValueFrom(stored$) : telemetry.wait.bind(telemetry),
      stored$: (where) => results.feed.values$(where),
    };
    return new TaskReads(source, this.reader);
  }

  #openChannel(pool: ConnectionPool): {
    readonly source: NotificationSource;
    readonly publisher?: NotificationPublisher;
  } {
    const { notifier, listen, schema, logger } = this.options;
    if (notifier !== undefined) return notifier.open({ schema, logger, onUnconfirmed: () => (this.#unconfirmed += 1) });
    if (listen === false) return { source: new NoNotifications() };
    const config = new SessionConfig(pool, listen === true ? undefined : listen.connection, "listener");
    return { source: new PostgresNotifications({ config, schema, database: this.database, logger }) };
  }
}

/**
 * Makes a wrong password or a missing database permanent for the first connection. Later calls retry these errors,
 * since they also occur during a failover.
 */
function toPermanent(error: unknown): unknown {
  if (!(error instanceof DatabaseError) || !/^(28|3D)/.test(error.sqlState ?? "")) return error;
  return new DatabaseError(error.message, error.sqlState, false, { cause: error.cause, origin: error.origin });
}
