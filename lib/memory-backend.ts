/* eslint-disable @typescript-eslint/require-await -- an async method turns what it throws into a rejection */
import { filter, firstValueFrom, merge, type Observable, Subject } from "rxjs";
import { toClaimOptions, toClient, toDrainMs, toExpectOptions, toSchema, toWaitOptions } from "./call-options";
import { toChunkOptions, toChunkRow } from "./chunks/chunk-rules";
import { BackendClosedError, WaitTimeoutError } from "./errors";
import { checkMember, type MemberRow, toGroupLimit, toGroupSize } from "./groups/group-rules";
import { MemoryChunks } from "./memory/chunks";
import type { MemoryGroup } from "./memory/group";
import { MemoryGroups } from "./memory/groups";
import { MemoryStorage } from "./memory/storage";
import { MemoryWaits } from "./memory/waits";
import { type ResolvedOptions, resolveOptions } from "./options";
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
  SqlClient,
  StoreOptions,
  TaskOutcome,
  TaskReadOptions,
  TaskWaitOptions,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
import { Reader } from "./results/reader";
import { TaskReads } from "./results/task-reads";
import { checkId, checkOptions, type OptionNames, typeName } from "./value/arguments";
import { encodeFailure } from "./value/failure";
import { type Codec, encodeResult, toStoreRow } from "./value/encoding";
import type { StoredResult } from "./value/decoding";
import type { TaskId } from "./value/task";
import { Call, Deadlines } from "./waiting/deadlines";

export interface MemoryResultBackendOptions {
  /** Time to live of a result, in milliseconds. More than 0; `Infinity` never expires. Default 86 400 000, a day. */
  readonly ttlMs?: number;
  /** Largest result, in bytes of JSON. Default 67 108 864 (64 MiB), as with Postgres. */
  readonly maxResultBytes?: number;
  /** Encodes results that JSON cannot hold, as with Postgres. Default: JSON alone. */
  readonly codec?: Codec;
  /** Gives the errors of deadlines the stack of their call, as with Postgres. Default `false`. */
  readonly longStackTraces?: boolean;
}

const memoryNames: OptionNames<MemoryResultBackendOptions> = {
  ttlMs: true,
  maxResultBytes: true,
  codec: true,
  longStackTraces: true,
};

/**
 * Keeps results, chunks and groups in the memory of this process, for tests of code that takes a `ResultBackend`. It
 * has the same contract as the Postgres backend, and also encodes results as JSON. Fake timers that replace `Date`
 * control timeouts, times to live and deadlines. Calls with the option `client` reject with a `TypeError`, since memory
 * has no transactions. Expired results take up memory until they are requested again.
 */
export class MemoryResultBackend implements ResultBackend {
  readonly #storage: MemoryStorage;
  readonly #options: Pick<ResolvedOptions, "ttlMs" | "maxResultBytes" | "codec" | "longStackTraces">;
  // Not by `performance.now()`: `node:test`, and Vitest before 3, replace timers and `Date` but not `performance`,
  // so that waits would never end.
  readonly #deadlines: Deadlines;
  readonly #reader: Reader;
  readonly #results: MemoryWaits<StoredResult>;
  readonly #tasks: TaskReads;
  readonly #chunks: MemoryChunks;
  readonly #groups: MemoryGroups;
  readonly #closed$ = new Subject<never>();
  #closing: Promise<void> | undefined;

  constructor(options?: MemoryResultBackendOptions);
  /** @internal Another backend on the same storage. */
  constructor(options: MemoryResultBackendOptions | undefined, storage: MemoryStorage);
  constructor(options: MemoryResultBackendOptions = {}, storage = new MemoryStorage()) {
    checkOptions(options, memoryNames);
    this.#storage = storage;
    this.#options = resolveOptions(options);
    this.#deadlines = new Deadlines(() => Date.now(), this.#options.longStackTraces);
    this.#reader = new Reader(this.#deadlines, this.#options.codec);
    this.#results = new MemoryWaits<StoredResult>({
      deadlines: this.#deadlines,
      changes$: storage.stored$,
      keyOf: ({ taskId }) => taskId,
      read: (taskId) => storage.read(taskId),
      isAnswer: () => true,
      timeoutError: (taskId, timeoutMs) => new WaitTimeoutError({ taskId }, timeoutMs),
    });
    this.#tasks = new TaskReads(
      {
        deadlines: this.#deadlines,
        assertOpen: () => this.#assertOpen(),
        load: async (taskId) => storage.read(taskId),
        exists: async (taskId) => storage.exists(taskId),
        watch$: (taskId, limits) => this.#results.watch$(taskId, limits),
        first: async (_taskId, stored$) => firstValueFrom(stored$),
        stored$: (where) => merge(storage.stored$, this.#closed$).pipe(filter(({ taskId }) => where(taskId))),
      },
      this.#reader,
    );
    this.#chunks = new MemoryChunks(this.#deadlines, storage);
    this.#groups = new MemoryGroups(this.#deadlines, storage);
  }

  /**
   * Creates another backend on the same results and groups, like another process on the same database. Each is notified
   * of what the other stores, and closing one leaves the other open.
   *
   * @param options - Options of the new backend. Default: those of this one.
   */
  view(options: MemoryResultBackendOptions = {}): MemoryResultBackend {
    const { ttlMs, maxResultBytes, longStackTraces, codec } = this.#options;
    const same = { ttlMs, maxResultBytes, longStackTraces, ...(codec === undefined ? {} : { codec }) };
    return new MemoryResultBackend({ ...same, ...options }, this.#storage);
  }

  /**
   * Counts the tasks and groups that this backend waits for or follows: 0 if a test has ended all of its waits and
   * streams.
   */
  stats(): { readonly waiting: number } {
    return { waiting: this.#results.size + this.#chunks.size + this.#groups.size };
  }

  async store<T>(taskId: TaskId<unknown, T>, result: NoInfer<T>, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    this.#write(taskId, this.#encode(taskId, result), null, options);
  }

  async fail(taskId: string, error: unknown, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    this.#write(taskId, "null", encodeFailure(error, this.#options.maxResultBytes), options);
  }

  async expect(taskId: string, options?: ExpectOptions): Promise<void> {
    checkId(taskId, "taskId");
    const { ttlMs, client } = toExpectOptions(options, this.#options.ttlMs);
    this.#assertWritable(client);
    this.#storage.expect(taskId, ttlMs);
  }

  get<T>(taskId: TaskId<T, unknown>, options?: TaskReadOptions<T>): Promise<T | undefined> {
    return this.#tasks.get(taskId, options);
  }

  getSettled<T>(
    taskId: TaskId<T, unknown>,
    options?: TaskReadOptions<T>,
  ): Promise<PromiseSettledResult<T> | undefined> {
    return this.#tasks.getSettled(taskId, options);
  }

  wait<T>(taskId: TaskId<T, unknown>, timeout: number | TaskWaitOptions<T>): Promise<T> {
    return this.#tasks.wait(taskId, timeout);
  }

  waitSettled<T>(taskId: TaskId<T, unknown>, timeout: number | TaskWaitOptions<T>): Promise<PromiseSettledResult<T>> {
    return this.#tasks.waitSettled(taskId, timeout);
  }

  async delete(taskId: string, options?: WriteOptions): Promise<boolean> {
    checkId(taskId, "taskId");
    this.#assertWritable(toClient(options));
    return this.#storage.delete(taskId);
  }

  result$<T>(taskId: TaskId<T, unknown>, options?: ReadOptions<T>): Observable<T> {
    return this.#tasks.result$(taskId, options);
  }

  results$<T>(options?: ResultFeedOptions<T>): Observable<TaskOutcome<T>> {
    return this.#tasks.results$(options);
  }

  async emit<T>(taskId: string, chunk: T, options: EmitOptions = {}): Promise<number> {
    checkId(taskId, "taskId");
    const row = toChunkRow(taskId, this.#encode(taskId, chunk), options, this.#options.ttlMs);
    this.#assertWritable(options.client);
    return this.#storage.emit(row);
  }

  chunks$<T>(taskId: string, options?: ChunkOptions<T>): Observable<Chunk<T>> & AsyncIterable<Chunk<T>> {
    checkId(taskId, "taskId");
    const { after, schema } = toChunkOptions(options);
    return this.#chunks.chunks$(taskId, after, (stored) => this.#reader.chunk(taskId, stored, schema));
  }

  async initGroup(groupId: string, members: number | readonly string[], options: GroupOptions = {}): Promise<void> {
    checkId(groupId, "groupId");
    const size = toGroupSize(members, options, this.#options.ttlMs);
    this.#assertWritable(options.client);
    this.#storage.changeGroup(groupId, (group) => group.init(size));
  }

  async completeGroupMember<T>(
    groupId: string,
    taskId: TaskId<unknown, T>,
    result: NoInfer<T>,
    options?: WriteOptions,
  ): Promise<number> {
    checkMember(groupId, taskId);
    const client = toClient(options);
    return this.#finish({ groupId, taskId, result: this.#encode(taskId, result), error: null }, client);
  }

  async failGroupMember(groupId: string, taskId: string, error: unknown, options?: WriteOptions): Promise<number> {
    checkMember(groupId, taskId);
    const client = toClient(options);
    const failure = encodeFailure(error, this.#options.maxResultBytes);
    return this.#finish({ groupId, taskId, result: "null", error: failure }, client);
  }

  async deleteGroup(groupId: string, options?: WriteOptions): Promise<boolean> {
    checkId(groupId, "groupId");
    this.#assertWritable(toClient(options));
    return this.#storage.deleteGroup(groupId);
  }

  async getGroupResults<T>(groupId: string, options?: ReadOptions<T>): Promise<T[]> {
    const schema = toSchema(options);
    const outcomes = this.#findGroup(groupId)?.outcomes() ?? [];
    const completed = outcomes.filter(({ error }) => error === null);
    return this.#reader.values(completed, schema);
  }

  async getGroup(groupId: string): Promise<GroupProgress | undefined> {
    return this.#findGroup(groupId)?.progress;
  }

  async waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]> {
    const options = toWaitOptions(timeout);
    checkId(groupId, "groupId");
    this.#assertOpen();
    const results = firstValueFrom(this.#groups.results$(groupId, options));
    return this.#reader.values(results, options.schema, { target: { groupId }, ...options });
  }

  group$(groupId: string): Observable<GroupProgress> {
    checkId(groupId, "groupId");
    return this.#groups.progress$(groupId);
  }

  groupMembers$<T>(groupId: string, options?: ReadOptions<T>): Observable<TaskOutcome<T>> {
    checkId(groupId, "groupId");
    const schema = toSchema(options);
    return this.#reader.outcome$(this.#groups.members$(groupId), schema);
  }

  groupResults$<T>(groupId: string, options?: ReadOptions<T>): Observable<T[]> {
    checkId(groupId, "groupId");
    const schema = toSchema(options);
    return this.#reader.values$(this.#groups.results$(groupId), schema);
  }

  groupCompletions$(): Observable<GroupProgress> {
    return merge(this.#storage.groupDone$, this.#closed$);
  }

  async claimGroup(groupId: string, options?: ClaimOptions): Promise<GroupClaim | undefined> {
    checkId(groupId, "groupId");
    const { client, leaseMs } = toClaimOptions(options);
    this.#assertWritable(client);
    const group = this.#storage.group(groupId);
    const keep = group?.claim(leaseMs ?? Infinity);
    if (keep === undefined) return undefined;
    const ack = async (): Promise<boolean> => {
      this.#assertOpen();
      return leaseMs === undefined || (this.#storage.group(groupId) === group && keep());
    };
    return { groupId, ack };
  }

  async unclaimedGroups(options: UnclaimedOptions = {}): Promise<GroupProgress[]> {
    const limit = toGroupLimit(options);
    this.#assertOpen();
    const unclaimed = this.#storage.doneGroups().filter(({ isClaimed }) => !isClaimed);
    return unclaimed.slice(0, limit).map(({ progress }) => progress);
  }

  async close(options?: CloseOptions): Promise<void> {
    const drainMs = toDrainMs(options);
    this.#closing ??= this.#close(drainMs);
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #encode(taskId: string, result: unknown): string {
    return encodeResult(taskId, result, this.#options.maxResultBytes, this.#options.codec);
  }

  #write(taskId: string, result: string, error: string | null, options: StoreOptions): void {
    const row = toStoreRow(taskId, result, error, options, this.#options.ttlMs);
    this.#assertWritable(options.client);
    this.#storage.store(row);
  }

  #finish({ groupId, ...outcome }: MemberRow & { readonly result: string }, client: SqlClient | undefined): number {
    this.#assertWritable(client);
    return this.#storage.changeGroup(groupId, (group) => group.finish({ ...outcome, storedAt: Date.now() * 1_000 }));
  }

  #findGroup(groupId: string): MemoryGroup | undefined {
    checkId(groupId, "groupId");
    this.#assertOpen();
    return this.#storage.group(groupId);
  }

  /** @throws {@link BackendClosedError} */
  #assertOpen(): void {
    if (this.#closing !== undefined) throw new BackendClosedError();
  }

  /** Refuses a write with `client`. If it took effect at once, tests of transactions would pass by mistake. */
  #assertWritable(client: SqlClient | undefined): void {
    if (client !== undefined)
      throw new TypeError(`client: expected none, since memory has no transactions, got ${typeName(client)}.`);
    this.#assertOpen();
  }

  async #close(drainMs: number): Promise<void> {
    if (drainMs > 0) {
      const drained = new Call<void>(this.#deadlines, drainMs, () => new BackendClosedError());
      const draining = [this.#results, this.#chunks, this.#groups, this.#reader].map(async (each) => each.drain());
      void Promise.all(draining).then(() => drained.resolve());
      await drained.promise.catch(() => undefined);
    }
    for (const each of [this.#results, this.#chunks, this.#groups]) each.close();
    this.#closed$.error(new BackendClosedError());
    // Only validations are left: their results exist, but the schemas have not answered.
    this.#deadlines.end(new BackendClosedError());
  }
}
