import { firstValueFrom, filter, Subject } from "rxjs";
import type { Pool } from "pg";
import { Database } from "./database/database";
import type { OwnPool } from "./database/own-pool";
import { Deadlines } from "./deadlines";
import { BackendClosedError, SchemaError } from "./errors";
import { type Health, readHealth } from "./health";
import { channelOf } from "./notify/channel";
import type { HintSource } from "./notify/hint-source";
import { listenConfig } from "./notify/listen-config";
import { NoHints } from "./notify/no-hints";
import { PostgresHints } from "./notify/postgres-hints";
import type { StoredResult } from "./notify/hint";
import type { ResolvedOptions } from "./options";
import { PruneSchedule } from "./prune/prune-schedule";
import type { Stats } from "./stats";
import { latestVersion } from "./schema/migrations";
import { newerSchemaError, SchemaCheck } from "./schema/schema-check";
import { Notifier } from "./store/notifier";
import { type ResultStatements, resultStatements } from "./store/statements";
import { Writer } from "./store/writer";
import { Aborts } from "./wait/aborts";
import { Feed } from "./wait/feed";
import { Loader } from "./wait/loader";
import { Router, type WakeCause } from "./wait/router";
import { Sweep } from "./wait/sweep";
import { Waits } from "./wait/waits";
import { Wakeups } from "./wait/wakeups";

/** How long `close` waits for stores that are under way. */
const closeLimitMs = 5_000;

/** The parts behind a backend, put together; the backends that `withTtl` makes share one. Knows the order in which they end. */
export class BackendCore {
  readonly options: ResolvedOptions;
  readonly database: Database;
  readonly statements: ResultStatements;
  readonly schemaCheck: SchemaCheck;
  readonly hints: HintSource;
  readonly writer: Writer;
  readonly loader: Loader;
  readonly waits: Waits;
  readonly feed: Feed;
  readonly #ownPool: OwnPool | undefined;
  readonly #router = new Router<StoredResult>();
  readonly #deadlines = new Deadlines();
  readonly closed$ = new Subject<never>();
  readonly #sweep: Sweep;
  readonly #wakeups: Wakeups;
  readonly #pruning: PruneSchedule;
  readonly #wokenBy: Record<WakeCause, number> = {
    read: 0,
    notification: 0,
    inline: 0,
    reconnect: 0,
    sweep: 0,
    deadline: 0,
  };
  #caughtBySweep = 0;
  #announcementsFailed = 0;
  #closing: Promise<void> | undefined;

  constructor(pool: Pool, options: ResolvedOptions, ownPool?: OwnPool) {
    const { schema, logger, retryTimeoutMs, listen } = options;
    const router = this.#router;
    this.options = options;
    this.#ownPool = ownPool;
    this.database = new Database(pool, schema);
    this.statements = resultStatements(schema);
    this.schemaCheck = new SchemaCheck(this.database, schema, latestVersion());
    const common = {
      database: this.database,
      schemaCheck: this.schemaCheck,
      deadlines: this.#deadlines,
      closed$: this.closed$,
    };
    this.writer = new Writer({ ...common, options, notifier: this.#createNotifier() });
    this.hints =
      listen === false
        ? new NoHints()
        : new PostgresHints({
            config: listenConfig(pool, listen === true ? undefined : listen.connection),
            schema,
            database: this.database,
            logger,
          });
    this.loader = new Loader({
      ...common,
      statements: this.statements,
      retryTimeoutMs,
      onFound: (stored, cause, isOld) => this.#onFound(stored, cause, isOld),
      onDenied: (taskIds, error) => {
        for (const taskId of taskIds) router.error(taskId, error);
        this.feed.error(error);
      },
    });
    this.#sweep = new Sweep(this.hints, options.sweepIntervalMs, () => this.#wakeups.rereadAll("sweep"));
    this.waits = new Waits({
      router,
      loader: this.loader,
      sweep: this.#sweep,
      deadlines: this.#deadlines,
      aborts: new Aborts(),
      countWake: (cause) => (this.#wokenBy[cause] += 1),
    });
    this.feed = this.#createFeed();
    const trustInline = options.inlineResultBytes > 0;
    this.#wakeups = new Wakeups({ hints: this.hints, router, loader: this.loader, feed: this.feed, trustInline });
    this.#pruning = new PruneSchedule(this.database, this.statements, options);
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
      if (!(error instanceof SchemaError) || error.reason === "newer") throw error;
    }
  }

  async ready(): Promise<void> {
    this.assertOpen();
    this.#sweep.enter();
    try {
      const isDecided = filter(
        (status: string) => status === "listening" || status === "polling" || status === "closed",
      );
      if ((await firstValueFrom(this.hints.status$.pipe(isDecided))) === "closed") throw new BackendClosedError();
    } finally {
      this.#sweep.leave();
    }
  }

  async close(drainMs: number): Promise<void> {
    this.#closing ??= this.#close(drainMs);
    await this.#closing;
  }

  stats(): Stats {
    const { statements, rows, retries, queued, inFlight } = this.writer.counters;
    const { reads, retries: readRetries } = this.loader.counters;
    const { status, reconnects, heartbeatMs } = this.hints.report;
    return {
      status,
      waiting: this.#router.size,
      feeds: this.feed.subscribers,
      wokenBy: { ...this.#wokenBy },
      caughtBySweep: this.#caughtBySweep,
      sweeps: this.#sweep.sweeps,
      queries: this.database.queries,
      stores: { rows, statements, retries, queued, inFlight },
      reads: { statements: reads, retries: readRetries },
      hints: { relevant: this.#wakeups.hinted, garbage: this.hints.garbage },
      announcementsFailed: this.#announcementsFailed,
      reconnects,
      heartbeatMs,
    };
  }

  async health(): Promise<Health> {
    return readHealth(this);
  }

  /** Its order: nobody new, those who wait, those who write, what listens, what connects. */
  async #close(drainMs: number): Promise<void> {
    if (drainMs > 0) await settledWithin(this.#router.drain(), drainMs);
    this.waits.close();
    this.feed.close();
    this.#router.errorAll(new BackendClosedError());
    this.#pruning.close();
    await settledWithin(this.writer.drain(), closeLimitMs);
    this.closed$.error(new BackendClosedError());
    this.#deadlines.expireAll(new BackendClosedError());
    this.#sweep.close();
    this.#wakeups.close();
    await this.hints.close();
    await this.#ownPool?.end();
  }

  #createNotifier(): Notifier | undefined {
    const { notify, schema, logger } = this.options;
    if (notify === "trigger") return undefined;
    return new Notifier(this.database, this.statements, channelOf(schema), (error) => {
      this.#announcementsFailed += 1;
      logger.warn(`An announcement was dropped; its waiters find their results by sweeping. ${String(error)}`);
    });
  }

  #createFeed(): Feed {
    const { database, statements, options } = this;
    const timeoutMs = options.retryTimeoutMs;
    return new Feed({
      sweep: this.#sweep,
      readClock: async () => {
        const [row] = await database.query<[string]>(
          { purpose: "read the clock", text: statements.clock, values: [] },
          timeoutMs,
        );
        return Number(row?.[0]);
      },
      readStoredSince: async (storedAt, taskId, limit) => {
        const query = { purpose: "read new results", text: statements.storedSince, values: [storedAt, taskId, limit] };
        const rows = await database.query<[string, string]>(query, timeoutMs);
        return rows.map(([id, time]) => ({ taskId: id, storedAt: Number(time) }));
      },
      request: (taskId) => this.loader.request(taskId, "reconnect"),
    });
  }

  #onFound(stored: StoredResult, cause: WakeCause, isOld: boolean): void {
    if (cause === "sweep" && isOld && this.#sweep.isListening && this.#router.has(stored.taskId))
      this.#caughtBySweep += 1;
    this.#router.next(stored.taskId, stored, cause);
    this.feed.offer(stored, cause === "notification");
  }
}

/** Waits for `work`, but not for ever; how it ends does not matter. */
async function settledWithin(work: Promise<unknown>, limitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<void>((resolve) => (timer = setTimeout(resolve, Math.min(limitMs, 2 ** 31 - 1))));
  await Promise.race([work.catch(() => undefined), tooLong]);
  clearTimeout(timer);
}
