/* eslint-disable @typescript-eslint/require-await -- an async method turns what it throws into a rejection */
import { filter, firstValueFrom, type Observable } from "rxjs";
import { MemoryGroups } from "./memory/groups";
import { MemoryStorage } from "./memory/storage";
import { MemoryView } from "./memory/view";
import { resolveOptions } from "./options";
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
import { toStoreRow } from "./results/store-row";
import { checkDurationMs, checkId, typeName } from "./value/arguments";
import { encodeFailure } from "./value/failure";
import { type Codec, encodeResult } from "./value/encoding";
import { checkSchema, type StoredResult } from "./value/decoding";
import type { TaskId } from "./value/task";
import { resolveWaitOptions } from "./waiting/waits";

export interface MemoryResultBackendOptions {
  /** How long a result is kept, in milliseconds. More than 0; `Infinity` never expires. Default 86 400 000, a day. */
  readonly ttlMs?: number;
  /** Largest result, in bytes of JSON. Default 67 108 864 (64 MiB), as with Postgres. */
  readonly maxResultBytes?: number;
  /** Encodes results that JSON cannot hold, as with Postgres. Default: JSON alone. */
  readonly codec?: Codec;
}

/**
 * Keeps results and groups in the memory of this process: the same contract without a database, for tests of code that
 * takes a `ResultBackend`. Results are encoded as JSON, as with Postgres. Timeouts, times to live and deadlines follow
 * fake timers that replace `Date`. Calls with the option `client` reject with a `TypeError`, since memory has no
 * transactions. Expired results take up memory until they are asked for again.
 */
export class MemoryResultBackend implements ResultBackend {
  readonly #view: MemoryView;
  readonly #groups: MemoryGroups;

  constructor(options?: MemoryResultBackendOptions);
  /** @internal Another backend on the same storage. */
  constructor(options: MemoryResultBackendOptions | undefined, storage: MemoryStorage);
  constructor(options: MemoryResultBackendOptions = {}, storage = new MemoryStorage()) {
    this.#view = new MemoryView(storage, resolveOptions(options));
    this.#groups = new MemoryGroups(this.#view);
  }

  /**
   * Creates another backend on the same results and groups, like another process on the same database: each hears what
   * the other stores, and closing one leaves the other open.
   *
   * @param options - Options of the new backend. Default: those of this one.
   */
  view(options: MemoryResultBackendOptions = {}): MemoryResultBackend {
    const { ttlMs, maxResultBytes, codec } = this.#view.options;
    const same = { ttlMs, maxResultBytes, ...(codec === undefined ? {} : { codec }) };
    return new MemoryResultBackend({ ...same, ...options }, this.#view.storage);
  }

  /** Counts the tasks and groups that this backend waits for: 0 if a test has ended all of its waits and streams. */
  stats(): { readonly waiting: number } {
    return { waiting: this.#view.results.size + this.#view.groups.size };
  }

  async store<T>(taskId: TaskId<T>, result: NoInfer<T>, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    const { maxResultBytes, codec } = this.#view.options;
    this.#write(taskId, encodeResult(taskId, result, maxResultBytes, codec), null, options);
  }

  async fail(taskId: string, error: unknown, options: StoreOptions = {}): Promise<void> {
    checkId(taskId, "taskId");
    this.#write(taskId, "null", encodeFailure(error, this.#view.options.maxResultBytes), options);
  }

  async get<T>(taskId: TaskId<T>, { schema }: ReadOptions<T> = {}): Promise<T | undefined> {
    checkSchema(schema);
    const stored = this.#find(taskId);
    return stored && this.#view.reader.value(stored, schema);
  }

  async getSettled<T>(
    taskId: TaskId<T>,
    { schema }: ReadOptions<T> = {},
  ): Promise<PromiseSettledResult<T> | undefined> {
    checkSchema(schema);
    const stored = this.#find(taskId);
    return stored && this.#view.reader.settled(stored, schema);
  }

  async wait<T>(taskId: TaskId<T>, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T> {
    const { reader } = this.#view;
    const options = resolveWaitOptions(timeout);
    return reader.value(this.#wait(taskId, options), options.schema, { target: { taskId }, ...options });
  }

  async waitSettled<T>(
    taskId: TaskId<T>,
    timeout: number | (WaitOptions & ReadOptions<T>),
  ): Promise<PromiseSettledResult<T>> {
    const { reader } = this.#view;
    const options = resolveWaitOptions(timeout);
    return reader.settled(this.#wait(taskId, options), options.schema, { target: { taskId }, ...options });
  }

  async delete(taskId: string, options: WriteOptions = {}): Promise<boolean> {
    checkId(taskId, "taskId");
    this.#view.assertWritable(options);
    return this.#view.storage.delete(taskId);
  }

  result$<T>(taskId: TaskId<T>, { schema }: ReadOptions<T> = {}): Observable<T> {
    checkId(taskId, "taskId");
    checkSchema(schema);
    return this.#view.reader.value$(this.#view.results.watch$(taskId), schema);
  }

  results$<T>({ where = () => true, schema }: ResultFeedOptions<T> = {}): Observable<TaskOutcome<T>> {
    if (typeof where !== "function") throw new TypeError(`where: expected a function, got ${typeName(where)}.`);
    checkSchema(schema);
    const { reader, stored$ } = this.#view;
    return reader.outcome$(stored$.pipe(filter(({ taskId }) => where(taskId))), schema);
  }

  async initGroup(groupId: string, members: number | readonly string[], options: GroupOptions = {}): Promise<void> {
    this.#groups.init(groupId, members, options);
  }

  async completeGroupMember<T>(
    groupId: string,
    taskId: TaskId<T>,
    result: NoInfer<T>,
    options: WriteOptions = {},
  ): Promise<number> {
    return this.#groups.complete(groupId, taskId, result, options);
  }

  async failGroupMember(groupId: string, taskId: string, error: unknown, options: WriteOptions = {}): Promise<number> {
    return this.#groups.fail(groupId, taskId, error, options);
  }

  async getGroupResults<T>(groupId: string, { schema }: ReadOptions<T> = {}): Promise<T[]> {
    checkSchema(schema);
    return this.#view.reader.values(this.#groups.results(groupId), schema);
  }

  async getGroup(groupId: string): Promise<GroupProgress | undefined> {
    return this.#groups.find(groupId)?.progress;
  }

  async waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]> {
    const { reader } = this.#view;
    const options = resolveWaitOptions(timeout);
    return reader.values(this.#groups.wait(groupId, options), options.schema, { target: { groupId }, ...options });
  }

  group$(groupId: string): Observable<GroupProgress> {
    return this.#groups.progress$(groupId);
  }

  groupMembers$<T>(groupId: string, { schema }: ReadOptions<T> = {}): Observable<TaskOutcome<T>> {
    checkSchema(schema);
    return this.#view.reader.outcome$(this.#groups.members$(groupId), schema);
  }

  groupResults$<T>(groupId: string, { schema }: ReadOptions<T> = {}): Observable<T[]> {
    checkSchema(schema);
    return this.#view.reader.values$(this.#groups.results$(groupId), schema);
  }

  groupCompletions$(): Observable<GroupProgress> {
    return this.#view.groupDone$;
  }

  async claimGroup(groupId: string, options: ClaimOptions = {}): Promise<GroupClaim | undefined> {
    return this.#groups.claim(groupId, options);
  }

  async unclaimedGroups(options: UnclaimedOptions = {}): Promise<GroupProgress[]> {
    return this.#groups.unclaimed(options);
  }

  async close({ drainMs = 0 }: CloseOptions = {}): Promise<void> {
    checkDurationMs(drainMs, "drainMs");
    await this.#view.close(drainMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #write(taskId: string, result: string, error: string | null, options: StoreOptions): void {
    const row = toStoreRow(taskId, result, error, options, this.#view.options.ttlMs);
    this.#view.assertWritable(options);
    this.#view.storage.store(row);
  }

  #find(taskId: string): StoredResult | undefined {
    checkId(taskId, "taskId");
    this.#view.assertOpen();
    return this.#view.storage.read(taskId);
  }

  async #wait(taskId: string, options: WaitOptions): Promise<StoredResult> {
    checkId(taskId, "taskId");
    this.#view.assertOpen();
    return firstValueFrom(this.#view.results.watch$(taskId, options));
  }
}
