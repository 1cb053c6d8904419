import type { PoolConfig } from "pg";
import { firstValueFrom, type Observable } from "rxjs";
import { BackendCore } from "./backend-core";
import { OwnPool } from "./database/own-pool";
import type { ConnectionPool } from "./database/connection";
import { checkMember, type OpenGroupsOptions, toGroupLimit, toGroupSize } from "./groups/group-rules";
import { type Health, readHealth } from "./admin/health";
import { diagnose, type DiagnoseOptions, type Diagnosis } from "./admin/diagnosis";
import { inspect, type Inspection } from "./admin/inspection";
import { checkSchema, type StoredResult } from "./value/decoding";
import type { ListenStatus } from "./notifications/notifier";
import { type PostgresResultBackendOptions, resolveOptions } from "./options";
import type { PruneOptions, PruneReport } from "./admin/pruner";
import type {
  ClaimOptions,
  CloseOptions,
  GroupClaim,
  GroupOptions,
  GroupProgress,
  ReadOptions,
  ResultBackend,
  ResultFeedOptions,
  StoreOptions,
  TaskOutcome,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
import {
  migrate,
  type MigrateOptions,
  type MigrationPlan,
  type MigrationReport,
  planMigration,
} from "./schema/migrate";
import type { Stats } from "./admin/stats";
import type { Announcement } from "./results/announcements";
import { deleteResult } from "./results/delete";
import { type StoreRow, toStoreRow } from "./results/store-row";
import { checkDurationMs, checkId, checkTtlMs, typeName } from "./value/arguments";
import { encodeFailure } from "./value/failure";
import { encodeResult } from "./value/encoding";
import type { TaskId } from "./value/task";
import { resolveWaitOptions, withWaitOptions } from "./waiting/waits";

/** Results in PostgreSQL, awaited by LISTEN/NOTIFY. */
export class PostgresResultBackend implements ResultBackend {
  readonly #core: BackendCore;
  readonly #ttlMs: number;

  /**
   * Works on a pool of the caller's, which it never ends. Nothing is sent before the first call. The pool needs an `error` listener of its own, as any pool of
   * `pg` does.
   */
  constructor(pool: ConnectionPool, options?: PostgresResultBackendOptions);
  /** @internal Another view of the same parts. */
  // eslint-disable-next-line @typescript-eslint/unified-signatures -- stripped from the published types
  constructor(core: BackendCore, options?: PostgresResultBackendOptions);
  constructor(poolOrCore: ConnectionPool | BackendCore, options: PostgresResultBackendOptions = {}) {
    if (poolOrCore instanceof BackendCore) {
      this.#core = poolOrCore;
      this.#ttlMs = options.ttlMs ?? poolOrCore.options.ttlMs;
      return;
    }
    // Not `instanceof Pool`: an application may have a copy of `pg` of its own.
    if (typeof (poolOrCore as Partial<ConnectionPool> | undefined)?.connect !== "function") {
      throw new TypeError(`pool: expected a Pool of pg, got ${typeName(poolOrCore)}.`);
    }
    const resolved = resolveOptions(options);
    this.#core = new BackendCore(poolOrCore, resolved);
    this.#ttlMs = resolved.ttlMs;
  }

  /**
   * Connects to a database with a small pool of its own, which `close` ends. Does not change the schema; see {@link PostgresResultBackend.migrate}.
   *
   * @param connection - An address such as `postgres://user:password@host:5432/database`, or a configuration of `pg`.
   * @throws TypeError The address is not one of PostgreSQL.
   * @throws {@link DatabaseError} No server answers there, or it refuses: at once, this is not retried.
   * @throws {@link SchemaError} The schema is newer than this package.
   */
  static async connect(
    connection: string | PoolConfig,
    options?: PostgresResultBackendOptions,
  ): Promise<PostgresResultBackend> {
    const resolved = resolveOptions(options);
    const ownPool = new OwnPool(connection);
    const core = new BackendCore(ownPool.pool, resolved, ownPool);
    try {
      await core.checkReachable();
    } catch (error) {
      await core.close(0);
      throw error;
    }
    return new PostgresResultBackend(core, { ttlMs: resolved.ttlMs });
  }

  /** The same backend, with another default for how long results are kept. Pool, listener and batches are shared, and closing one closes both. */
  withTtl(ttlMs: number): PostgresResultBackend {
    checkTtlMs(ttlMs, "ttlMs");
    return new PostgresResultBackend(this.#core, { ttlMs });
  }

  /**
   * Creates or upgrades the tables and triggers; does nothing if they are up to date. Tables of the Rust crate are adopted with their rows, and its workers go on writing
   * meanwhile. Safe to run by any number of processes at once; an interrupted migration is continued. Needs a role that may create tables in the schema.
   *
   * @throws {@link SchemaError} The schema is newer than this package.
   * @throws {@link DatabaseError} Another session kept a lock for too long; the message names it.
   */
  async migrate(options?: MigrateOptions): Promise<MigrationReport> {
    this.#core.assertOpen();
    return migrate(this.#core.database, this.#core.options.schema, options);
  }

  /**
   * What `migrate` would do; changes nothing. For the SQL itself see `migrationScript`.
   *
   * @throws {@link SchemaError} The schema is newer than this package.
   */
  async planMigration(): Promise<MigrationPlan> {
    this.#core.assertOpen();
    return planMigration(this.#core.database, this.#core.schemaCheck, this.#core.options.schema);
  }

  async store<T>(taskId: TaskId<T>, result: NoInfer<T>, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    await this.#write("store", toStoreRow(taskId, this.#encode(taskId, result), null, options, this.#ttlMs), options);
  }

  async fail(taskId: string, error: unknown, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    const failure = encodeFailure(error, this.#core.options.maxResultBytes);
    await this.#write("fail", toStoreRow(taskId, "null", failure, options, this.#ttlMs), options);
  }

  async get<T>(taskId: TaskId<T>, { schema }: ReadOptions<T> = {}): Promise<T | undefined> {
    checkSchema(schema);
    const stored = await this.#load(taskId);
    return stored && this.#core.reader.value(stored, schema);
  }

  async getSettled<T>(
    taskId: TaskId<T>,
    { schema }: ReadOptions<T> = {},
  ): Promise<PromiseSettledResult<T> | undefined> {
    checkSchema(schema);
    const stored = await this.#load(taskId);
    return stored && this.#core.reader.settled(stored, schema);
  }

  wait<T>(taskId: TaskId<T>, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T> {
    return withWaitOptions(timeout, (options) =>
      this.#core.reader.value(this.#wait(taskId, options), options.schema, { target: { taskId }, ...options }),
    );
  }

  waitSettled<T>(
    taskId: TaskId<T>,
    timeout: number | (WaitOptions & ReadOptions<T>),
  ): Promise<PromiseSettledResult<T>> {
    return withWaitOptions(timeout, (options) =>
      this.#core.reader.settled(this.#wait(taskId, options), options.schema, { target: { taskId }, ...options }),
    );
  }

  async delete(taskId: string, options: WriteOptions = {}): Promise<boolean> {
    checkId(taskId, "taskId");
    this.#core.assertOpen();
    return deleteResult(this.#core, taskId, options.client);
  }

  /**
   * Tells waiters, after its commit, of what a transaction of the caller's has stored (`{ client }`). Needed where triggers do not: in a schema without them, or for who hears
   * over `notifier` without a relay. Waits for nothing and never fails; what gets lost is found by sweeping.
   */
  announce({ taskIds = [], groupIds = [] }: Announcement): void {
    for (const taskId of taskIds) checkId(taskId, "taskId");
    for (const groupId of groupIds) checkId(groupId, "groupId");
    this.#core.assertOpen();
    const announcer = this.#core.announcements.after(true);
    announcer?.announce("ids", taskIds);
    announcer?.announce("members", groupIds);
  }

  result$<T>(taskId: TaskId<T>, { schema }: ReadOptions<T> = {}): Observable<T> {
    checkId(taskId, "taskId");
    checkSchema(schema);
    const { reader, results } = this.#core;
    return reader.value$(results.waits.watch$(taskId), schema);
  }

  results$<T>({ where = () => true, schema }: ResultFeedOptions<T> = {}): Observable<TaskOutcome<T>> {
    if (typeof where !== "function") throw new TypeError(`where: expected a function, got ${typeName(where)}.`);
    checkSchema(schema);
    return this.#core.reader.outcome$(this.#core.results.feed.values$(where), schema);
  }

  async initGroup(groupId: string, members: number | readonly string[], options: GroupOptions = {}): Promise<void> {
    checkId(groupId, "groupId");
    const size = toGroupSize(members, options, this.#ttlMs);
    this.#core.assertOpen();
    await this.#core.groupWriter.init(groupId, size, options.client);
  }

  async completeGroupMember<T>(
    groupId: string,
    taskId: TaskId<T>,
    result: NoInfer<T>,
    options: WriteOptions = {},
  ): Promise<number> {
    checkMember(groupId, taskId);
    const row = { groupId, taskId, result: this.#encode(taskId, result), error: null };
    this.#core.assertOpen();
    return this.#core.groupWriter.finish(row, options.client);
  }

  async failGroupMember(groupId: string, taskId: string, error: unknown, options: WriteOptions = {}): Promise<number> {
    checkMember(groupId, taskId);
    this.#core.assertOpen();
    const failure = encodeFailure(error, this.#core.options.maxResultBytes);
    return this.#core.groupWriter.finish({ groupId, taskId, result: null, error: failure }, options.client);
  }

  async getGroupResults<T>(groupId: string, { schema }: ReadOptions<T> = {}): Promise<T[]> {
    checkId(groupId, "groupId");
    checkSchema(schema);
    const { reader, groups } = this.#core;
    this.#core.assertOpen();
    return reader.values(groups.results(groupId), schema);
  }

  async getGroup(groupId: string): Promise<GroupProgress | undefined> {
    checkId(groupId, "groupId");
    this.#core.assertOpen();
    return this.#core.groups.progress(groupId);
  }

  async waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]> {
    checkId(groupId, "groupId");
    const options = resolveWaitOptions(timeout);
    const { reader, groups } = this.#core;
    this.#core.assertOpen();
    return reader.values(groups.wait(groupId, options), options.schema, { target: { groupId }, ...options });
  }

  group$(groupId: string): Observable<GroupProgress> {
    checkId(groupId, "groupId");
    return this.#core.groups.group$(groupId);
  }

  groupMembers$<T>(groupId: string, { schema }: ReadOptions<T> = {}): Observable<TaskOutcome<T>> {
    checkId(groupId, "groupId");
    checkSchema(schema);
    return this.#core.reader.outcome$(this.#core.groups.members$(groupId), schema);
  }

  groupResults$<T>(groupId: string, { schema }: ReadOptions<T> = {}): Observable<T[]> {
    checkId(groupId, "groupId");
    checkSchema(schema);
    const { reader, groups } = this.#core;
    return reader.values$(groups.results$(groupId), schema);
  }

  groupCompletions$(): Observable<GroupProgress> {
    return this.#core.groups.completions$();
  }

  /**
   * How far all groups are: a hot stream for monitors. First the groups that are open (at most 1000), then every change of any group; changes in quick succession show as one.
   * What began and ended while the connection was lost is not shown; `groupCompletions$` has it. Errors when the backend is closed.
   */
  groupChanges$(): Observable<GroupProgress> {
    return this.#core.groups.changes.changes$();
  }

  async claimGroup(groupId: string, options: ClaimOptions = {}): Promise<GroupClaim | undefined> {
    checkId(groupId, "groupId");
    this.#core.assertOpen();
    return this.#core.claims.claim(groupId, options);
  }

  async unclaimedGroups(options: UnclaimedOptions = {}): Promise<GroupProgress[]> {
    const limit = toGroupLimit(options);
    this.#core.assertOpen();
    return this.#core.groups.unclaimed(limit);
  }

  /**
   * Groups that are not done and have not passed their deadline, by id: for a monitor that does not know which groups there are. It reads the open
   * ones only, however many others are kept; `group$` has what happens to one of them.
   */
  async openGroups(options: OpenGroupsOptions = {}): Promise<GroupProgress[]> {
    const limit = toGroupLimit(options);
    this.#core.assertOpen();
    return this.#core.groups.open(limit);
  }

  /**
   * Resolves once notifications are heard, or it is clear that they are not and waits are found by reading. Useful at start-up, so that the first wait does not
   * pay for it; nothing depends on it.
   *
   * @throws {@link BackendClosedError}
   */
  async ready(): Promise<void> {
    await this.#core.ready();
  }

  /** Emits how notifications reach this process, the latest first. Use it to react to changes. Never errors; completes when closed. */
  get status$(): Observable<ListenStatus> {
    return this.#core.notifications.status$;
  }

  /** Asks the database how it is, within bounded time. Use it in a health endpoint: it never rejects. */
  async health(): Promise<Health> {
    return readHealth(this.#core);
  }

  /**
   * Reports what is in the database: server, table sizes, triggers, expired rows, listening processes. Use it to look at a system that works; it changes nothing.
   *
   * @throws {@link DatabaseError} The database did not answer.
   */
  async inspect(): Promise<Inspection> {
    this.#core.assertOpen();
    return inspect(this.#core);
  }

  /**
   * Finds what makes waits slow or miss notifications, and how to fix it. Use it when waits are slow. Stores, awaits and deletes a result of its own by default.
   *
   * @throws {@link DatabaseError} The database did not answer at all.
   */
  async diagnose(options?: DiagnoseOptions): Promise<readonly Diagnosis[]> {
    this.#core.assertOpen();
    return diagnose(this.#core, options);
  }

  /** Gives the counters of this backend, without a query. Use it for metrics. */
  stats(): Stats {
    return this.#core.stats();
  }

  /** Deletes expired results, in batches. Readers never see them anyway; this gives the space back. */
  async prune(options?: PruneOptions): Promise<PruneReport> {
    this.#core.assertOpen();
    return this.#core.pruner.prune(options);
  }

  /** What `prune` would delete. */
  async countExpired(options?: Pick<PruneOptions, "olderThanMs">): Promise<PruneReport> {
    this.#core.assertOpen();
    return this.#core.pruner.countExpired(options);
  }

  async close({ drainMs = 0 }: CloseOptions = {}): Promise<void> {
    checkDurationMs(drainMs, "drainMs");
    await this.#core.close(drainMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #encode(taskId: string, result: unknown): string {
    const { maxResultBytes, codec } = this.#core.options;
    return encodeResult(taskId, result, maxResultBytes, codec);
  }

  // Not async, like what it calls: each async function on the way of a store makes a promise and a frame of its own.
  #write(name: "store" | "fail", row: StoreRow, { client }: StoreOptions): Promise<void> {
    this.#core.assertOpen();
    const { telemetry, writer } = this.#core;
    const write = (written: StoreRow): Promise<void> =>
      client === undefined ? writer.store(written) : writer.storeWith(client, written);
    if (telemetry === undefined) return write(row);
    return telemetry.store(name, row.taskId, (traceContext) => write({ ...row, traceContext }));
  }

  async #load(taskId: string): Promise<StoredResult | undefined> {
    checkId(taskId, "taskId");
    this.#core.assertOpen();
    return this.#core.results.loader.load(taskId, "read");
  }

  #wait(taskId: string, options: WaitOptions): Promise<StoredResult> {
    checkId(taskId, "taskId");
    this.#core.assertOpen();
    const { telemetry, results } = this.#core;
    const stored$ = results.waits.watch$(taskId, options);
    return telemetry === undefined ? firstValueFrom(stored$) : telemetry.wait(taskId, stored$);
  }
}
