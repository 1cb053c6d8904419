import type { PoolConfig } from "pg";
import type { Observable } from "rxjs";
import { diagnose, type DiagnoseOptions, type Diagnosis } from "./admin/diagnosis";
import { type Health, readHealth } from "./admin/health";
import { inspect, type Inspection } from "./admin/inspection";
import type { PruneOptions, PruneReport } from "./admin/pruner";
import type { Stats } from "./admin/stats";
import { BackendCore } from "./backend-core";
import { BackendSetup } from "./backend-setup";
import { toClaimOptions, toClient, toDrainMs, toExpectOptions, toSchema, toWaitOptions } from "./call-options";
import { toChunkOptions, toChunkRow } from "./chunks/chunk-rules";
import { checkPool, type ConnectionPool } from "./database/connection";
import { OwnPool } from "./database/own-pool";
import { checkMember, type OpenGroupsOptions, toGroupLimit, toGroupSize } from "./groups/group-rules";
import type { ListenStatus } from "./notifications/notifier";
import { type PostgresResultBackendOptions, resolveOptions } from "./options";
import type {
  Chunk,
  ChunkOptions,
  ClaimOptions,
  CloseOptions,
  EmitOptions,
  ExpectOptions,
  GroupClaim,
  GroupOptions,
  GroupProgress,
  ReadOptions,
  ResultBackend,
  ResultFeedOptions,
  StoreOptions,
  TaskOutcome,
  TaskReadOptions,
  TaskWaitOptions,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
import type { Announcement } from "./results/announcements";
import { checkId, checkTtlMs } from "./value/arguments";
import { encodeResult, type StoreRow, toStoreRow } from "./value/encoding";
import { encodeFailure } from "./value/failure";
import type { TaskId } from "./value/task";

/** Result backend on PostgreSQL. Results are rows in a table, and LISTEN/NOTIFY tells waiting processes about them. */
export class PostgresResultBackend extends BackendSetup implements ResultBackend {
  readonly #core: BackendCore;
  readonly #ttlMs: number;

  /**
   * Uses the caller's pool, and never ends it. Sends nothing before the first call. Like any pool of `pg`, it needs an
   * `error` listener.
   */
  constructor(pool: ConnectionPool, options?: PostgresResultBackendOptions);
  /** @internal Another view of the same parts. */
  // eslint-disable-next-line @typescript-eslint/unified-signatures -- stripped from the published types
  constructor(core: BackendCore, options?: PostgresResultBackendOptions);
  constructor(poolOrCore: ConnectionPool | BackendCore, options: PostgresResultBackendOptions = {}) {
    const core = poolOrCore instanceof BackendCore ? poolOrCore : createCore(poolOrCore, options);
    const ttlMs = options.ttlMs ?? core.options.ttlMs;
    super(core, ttlMs);
    this.#core = core;
    this.#ttlMs = ttlMs;
  }

  /**
   * Connects to a database with its own small pool, which `close` ends. Does not change the schema; see
   * {@link PostgresResultBackend.migrate}.
   *
   * @param connection - An address such as `postgres://user:password@host:5432/database`, or a configuration of `pg`.
   * @throws TypeError The address is not a PostgreSQL address.
   * @throws {@link DatabaseError} The server does not answer or rejects the connection; this is not retried.
   * @throws {@link SchemaError} The schema is newer than this package.
   */
  static async connect(
    connection: string | PoolConfig,
    options?: PostgresResultBackendOptions,
  ): Promise<PostgresResultBackend> {
    const resolved = resolveOptions(options);
    const ownPool = new OwnPool(connection, resolved.notify === "deferred");
    const core = new BackendCore(ownPool.pool, resolved, ownPool);
    try {
      await core.checkReachable();
    } catch (error) {
      await core.close(0);
      throw error;
    }
    return new PostgresResultBackend(core, { ttlMs: resolved.ttlMs });
  }

  /** @internal The parts that views share, for the dashboard. */
  get core(): BackendCore {
    return this.#core;
  }

  /**
   * Returns a view of this backend with another default time to live. Views share pool, listener and batches, and
   * closing one closes them all.
   */
  withTtl(ttlMs: number): PostgresResultBackend {
    checkTtlMs(ttlMs, "ttlMs");
    return new PostgresResultBackend(this.#core, { ttlMs });
  }

  async store<T>(taskId: TaskId<unknown, T>, result: NoInfer<T>, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    await this.#write("store", toStoreRow(taskId, this.#encode(taskId, result), null, options, this.#ttlMs), options);
  }

  async fail(taskId: string, error: unknown, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    const failure = encodeFailure(error, this.#core.options.maxResultBytes);
    await this.#write("fail", toStoreRow(taskId, "null", failure, options, this.#ttlMs), options);
  }

  async expect(taskId: string, options?: ExpectOptions): Promise<void> {
    checkId(taskId, "taskId");
    const { ttlMs, client } = toExpectOptions(options, this.#ttlMs);
    await this.#openCore().expectations.expect(taskId, ttlMs === Infinity ? null : ttlMs, client);
  }

  get<T>(taskId: TaskId<T, unknown>, options?: TaskReadOptions<T>): Promise<T | undefined> {
    return this.#core.tasks.get(taskId, options);
  }

  getSettled<T>(
    taskId: TaskId<T, unknown>,
    options?: TaskReadOptions<T>,
  ): Promise<PromiseSettledResult<T> | undefined> {
    return this.#core.tasks.getSettled(taskId, options);
  }

  wait<T>(taskId: TaskId<T, unknown>, timeout: number | TaskWaitOptions<T>): Promise<T> {
    return this.#core.tasks.wait(taskId, timeout);
  }

  waitSettled<T>(taskId: TaskId<T, unknown>, timeout: number | TaskWaitOptions<T>): Promise<PromiseSettledResult<T>> {
    return this.#core.tasks.waitSettled(taskId, timeout);
  }

  async delete(taskId: string, options?: WriteOptions): Promise<boolean> {
    checkId(taskId, "taskId");
    return this.#openCore().writer.delete(taskId, toClient(options));
  }

  /**
   * Notifies waiting processes of what the caller's own transaction (`{ client }`) has stored. Call it after the
   * commit, if no trigger sends the notification: in a schema without triggers, or with a `notifier` and no relay.
   * Never waits or fails. If the notification is lost, a sweep finds the results.
   */
  announce(written: Announcement): void {
    this.#openCore().announcements.announceWritten(written);
  }

  result$<T>(taskId: TaskId<T, unknown>, options?: ReadOptions<T>): Observable<T> {
    return this.#core.tasks.result$(taskId, options);
  }

  results$<T>(options?: ResultFeedOptions<T>): Observable<TaskOutcome<T>> {
    return this.#core.tasks.results$(options);
  }

  async emit<T>(taskId: string, chunk: T, options: EmitOptions = {}): Promise<number> {
    checkId(taskId, "taskId");
    const row = toChunkRow(taskId, this.#encode(taskId, chunk), options, this.#ttlMs);
    return this.#openCore().chunkWriter.emit(row, options.client);
  }

  chunks$<T>(taskId: string, options?: ChunkOptions<T>): Observable<Chunk<T>> & AsyncIterable<Chunk<T>> {
    checkId(taskId, "taskId");
    const { after, schema } = toChunkOptions(options);
    const { reader, chunks } = this.#core;
    return chunks.chunks$(taskId, after, (stored) => reader.chunk(taskId, stored, schema));
  }

  async initGroup(groupId: string, members: number | readonly string[], options: GroupOptions = {}): Promise<void> {
    checkId(groupId, "groupId");
    const size = toGroupSize(members, options, this.#ttlMs);
    await this.#openCore().groupWriter.init(groupId, size, options.client);
  }

  async completeGroupMember<T>(
    groupId: string,
    taskId: TaskId<unknown, T>,
    result: NoInfer<T>,
    options?: WriteOptions,
  ): Promise<number> {
    checkMember(groupId, taskId);
    const client = toClient(options);
    const row = { groupId, taskId, result: this.#encode(taskId, result), error: null };
    return this.#openCore().groupWriter.finish(row, client);
  }

  async failGroupMember(groupId: string, taskId: string, error: unknown, options?: WriteOptions): Promise<number> {
    checkMember(groupId, taskId);
    const client = toClient(options);
    this.#core.assertOpen();
    const failure = encodeFailure(error, this.#core.options.maxResultBytes);
    return this.#core.groupWriter.finish({ groupId, taskId, result: null, error: failure }, client);
  }

  async deleteGroup(groupId: string, options?: WriteOptions): Promise<boolean> {
    checkId(groupId, "groupId");
    return this.#openCore().groupWriter.delete(groupId, toClient(options));
  }

  async getGroupResults<T>(groupId: string, options?: ReadOptions<T>): Promise<T[]> {
    checkId(groupId, "groupId");
    const schema = toSchema(options);
    const { reader, groups } = this.#openCore();
    return reader.values(groups.reads.completed(groupId), schema);
  }

  async getGroup(groupId: string): Promise<GroupProgress | undefined> {
    checkId(groupId, "groupId");
    return this.#openCore().groups.progress(groupId);
  }

  async waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]> {
    checkId(groupId, "groupId");
    const options = toWaitOptions(timeout);
    const { reader, groups } = this.#openCore();
    return reader.values(groups.wait(groupId, options), options.schema, { target: { groupId }, ...options });
  }

  group$(groupId: string): Observable<GroupProgress> {
    checkId(groupId, "groupId");
    return this.#core.groups.group$(groupId);
  }

  groupMembers$<T>(groupId: string, options?: ReadOptions<T>): Observable<TaskOutcome<T>> {
    checkId(groupId, "groupId");
    const schema = toSchema(options);
    return this.#core.reader.outcome$(this.#core.groups.members$(groupId), schema);
  }

  groupResults$<T>(groupId: string, options?: ReadOptions<T>): Observable<T[]> {
    checkId(groupId, "groupId");
    const schema = toSchema(options);
    const { reader, groups } = this.#core;
    return reader.values$(groups.results$(groupId), schema);
  }

  groupCompletions$(): Observable<GroupProgress> {
    return this.#core.groups.completions$();
  }

  /**
   * Emits the progress of all groups, for monitors: first the open groups (at most 1000), then every change of any
   * group. Changes in quick succession may be combined. Unlike `groupCompletions$` it does not emit changes that were
   * missed while the connection was lost. Errors when the backend is closed.
   */
  groupChanges$(): Observable<GroupProgress> {
    return this.#core.groups.changes.changes$();
  }

  async claimGroup(groupId: string, options?: ClaimOptions): Promise<GroupClaim | undefined> {
    checkId(groupId, "groupId");
    return this.#openCore().groupWriter.claim(groupId, toClaimOptions(options));
  }

  async unclaimedGroups(options: UnclaimedOptions = {}): Promise<GroupProgress[]> {
    const limit = toGroupLimit(options);
    return this.#openCore().groups.reads.unclaimed(limit);
  }

  /**
   * Returns the groups that are not complete and have not expired, ordered by id, for monitors that do not know which
   * groups exist. Use `group$` to follow one of them.
   */
  async openGroups(options: OpenGroupsOptions = {}): Promise<GroupProgress[]> {
    const limit = toGroupLimit(options);
    return this.#openCore().groups.reads.open(limit);
  }

  /**
   * Resolves once this process receives notifications, or falls back to reading. Optional: await it at start-up so that
   * the first wait does not have to wait for the connection.
   *
   * @throws {@link BackendClosedError} The backend is closed.
   */
  async ready(): Promise<void> {
    await this.#core.ready();
  }

  /** Emits the listener's state, the current one first. Use it to react to changes. Never errors; ends with `close`. */
  get status$(): Observable<ListenStatus> {
    return this.#core.notifications.status$;
  }

  /** Checks the database within bounded time. Use it in a health endpoint: it never rejects. */
  async health(): Promise<Health> {
    return readHealth(this.#core);
  }

  /**
   * Reports what is in the database: server, table sizes, triggers, expired rows, listening processes. Use it to look
   * at a healthy system; it changes nothing.
   *
   * @throws {@link DatabaseError} The database did not answer.
   */
  async inspect(): Promise<Inspection> {
    return inspect(this.#openCore());
  }

  /**
   * Finds what makes waits slow or miss notifications, and how to fix it. Use it when waits are slow. By default it
   * stores, awaits and deletes a result of its own.
   *
   * @throws {@link DatabaseError} The database did not answer at all.
   */
  async diagnose(options?: DiagnoseOptions): Promise<readonly Diagnosis[]> {
    return diagnose(this.#openCore(), options);
  }

  /** Returns the counters of this backend, without a query. Use it for metrics. */
  stats(): Stats {
    return this.#core.stats();
  }

  /** Deletes expired results in batches. Readers never see expired results; pruning frees their space. */
  async prune(options?: PruneOptions): Promise<PruneReport> {
    return this.#openCore().pruner.prune(options);
  }

  /** Returns what `prune` would delete. */
  async countExpired(options?: Pick<PruneOptions, "olderThanMs">): Promise<PruneReport> {
    return this.#openCore().pruner.countExpired(options);
  }

  async close(options?: CloseOptions): Promise<void> {
    await this.#core.close(toDrainMs(options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @throws {@link BackendClosedError} */
  #openCore(): BackendCore {
    this.#core.assertOpen();
    return this.#core;
  }

  #encode(taskId: string, result: unknown): string {
    const { maxResultBytes, codec } = this.#core.options;
    return encodeResult(taskId, result, maxResultBytes, codec);
  }

  // Neither this function nor its callees are async: each async function on the path of a store costs a promise and a
  // frame.
  #write(name: "store" | "fail", row: StoreRow, { client }: StoreOptions): Promise<void> {
    const { telemetry, writer } = this.#openCore();
    const write = (written: StoreRow): Promise<void> =>
      client === undefined ? writer.store(written) : writer.storeWith(client, written);
    if (telemetry === undefined) return write(row);
    return telemetry.store(name, row.taskId, (traceContext) => write({ ...row, traceContext }));
  }
}

function createCore(pool: ConnectionPool, options: PostgresResultBackendOptions): BackendCore {
  checkPool(pool);
  return new BackendCore(pool, resolveOptions(options));
}
