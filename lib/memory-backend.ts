/* eslint-disable @typescript-eslint/require-await -- an async method turns what is thrown into a rejection, as its contract says */
import type { Observable } from "rxjs";
import { MemoryGroups } from "./memory/groups";
import { MemoryResults } from "./memory/results";
import { MemoryStorage } from "./memory/storage";
import { MemoryView } from "./memory/view";
import { resolveOptions } from "./options";
import type {
  ClaimOptions,
  CloseOptions,
  GroupBackend,
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
import { checkDurationMs } from "./value/arguments";
import { checkSchema } from "./value/schema";
import type { Codec } from "./value/json";
import type { TaskId } from "./value/task";
import { resolveWaitOptions } from "./waiting/waits";

export interface MemoryResultBackendOptions {
  /** How long a result is kept, in milliseconds. More than 0; `Infinity` never expires. Default 86 400 000, a day. */
  readonly ttlMs?: number;
  /** Largest result, in bytes of JSON. Default 67 108 864 (64 MiB), as with Postgres. */
  readonly maxResultBytes?: number;
  /** For results that JSON cannot hold, as with Postgres. Default: JSON alone. */
  readonly codec?: Codec;
}

/**
 * Results and groups in the memory of this process: the same contract with no database, for tests of code that takes a `ResultBackend`. Results go through
 * JSON as they do with Postgres. Timeouts, times to live and deadlines follow fake timers, if those replace `performance` too, as Jest's do. Calls with
 * the option `client` reject with a `TypeError`, since there is no transaction to take part in. What has expired takes up memory until it is asked for again.
 */
export class MemoryResultBackend implements ResultBackend, GroupBackend {
  readonly #view: MemoryView;
  readonly #results: MemoryResults;
  readonly #groups: MemoryGroups;

  constructor(options?: MemoryResultBackendOptions);
  /** @internal Another backend on the same storage. */
  constructor(options: MemoryResultBackendOptions | undefined, storage: MemoryStorage);
  constructor(options: MemoryResultBackendOptions = {}, storage = new MemoryStorage()) {
    this.#view = new MemoryView(storage, resolveOptions(options));
    this.#results = new MemoryResults(this.#view);
    this.#groups = new MemoryGroups(this.#view);
  }

  /**
   * Another backend on the same results and groups, as another process would have one on the same database: each hears what the other stores, and closing one
   * leaves the other open.
   *
   * @param options - Its own; what is left out is as in this one.
   */
  view(options: MemoryResultBackendOptions = {}): MemoryResultBackend {
    const { storage, ttlMs, maxResultBytes, codec } = this.#view;
    const same = { ttlMs, maxResultBytes, ...(codec === undefined ? {} : { codec }) };
    return new MemoryResultBackend({ ...same, ...options }, storage);
  }

  /** How many tasks and groups somebody waits for at this backend: 0 if a test has let go of everything. */
  stats(): { readonly waiting: number } {
    return { waiting: this.#view.results.size + this.#view.groups.size };
  }

  async store<T>(taskId: TaskId<T>, result: NoInfer<T>, options: StoreOptions = {}): Promise<void> {
    this.#results.store(taskId, result, options);
  }

  async fail(taskId: string, error: unknown, options: StoreOptions = {}): Promise<void> {
    this.#results.fail(taskId, error, options);
  }

  async get<T>(taskId: TaskId<T>, { schema }: ReadOptions<T> = {}): Promise<T | undefined> {
    checkSchema(schema);
    return this.#view.reader.found(this.#results.read(taskId), schema);
  }

  async getSettled<T>(
    taskId: TaskId<T>,
    { schema }: ReadOptions<T> = {},
  ): Promise<PromiseSettledResult<T> | undefined> {
    checkSchema(schema);
    return this.#view.reader.foundSettled(this.#results.read(taskId), schema);
  }

  async wait<T>(taskId: TaskId<T>, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T> {
    const { reader } = this.#view;
    const options = resolveWaitOptions(timeout);
    const stored = this.#results.wait(taskId, options);
    if (options.schema === undefined) return reader.value<T>(await stored);
    return reader.check(stored, options.schema, { target: { taskId }, ...options });
  }

  async waitSettled<T>(
    taskId: TaskId<T>,
    timeout: number | (WaitOptions & ReadOptions<T>),
  ): Promise<PromiseSettledResult<T>> {
    const { reader } = this.#view;
    const options = resolveWaitOptions(timeout);
    const stored = this.#results.wait(taskId, options);
    if (options.schema === undefined) return reader.settled<T>(await stored);
    return reader.checkSettled(stored, options.schema, { target: { taskId }, ...options });
  }

  async delete(taskId: string, options: WriteOptions = {}): Promise<boolean> {
    return this.#results.delete(taskId, options);
  }

  result$<T>(taskId: TaskId<T>, options: ReadOptions<T> = {}): Observable<T> {
    return this.#results.result$(taskId, options);
  }

  results$<T>(options: ResultFeedOptions<T> = {}): Observable<TaskOutcome<T>> {
    return this.#results.results$<T>(options);
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

  async getGroupResults<T>(groupId: string, options: ReadOptions<T> = {}): Promise<T[]> {
    return this.#groups.results(groupId, options);
  }

  async getGroup(groupId: string): Promise<GroupProgress | undefined> {
    return this.#groups.read(groupId)?.progress();
  }

  async waitGroup<T>(groupId: string, timeout: number | (WaitOptions & ReadOptions<T>)): Promise<T[]> {
    return this.#groups.wait(groupId, timeout);
  }

  group$(groupId: string): Observable<GroupProgress> {
    return this.#groups.progress$(groupId);
  }

  groupMembers$<T>(groupId: string, options: ReadOptions<T> = {}): Observable<TaskOutcome<T>> {
    return this.#groups.members$(groupId, options);
  }

  groupResults$<T>(groupId: string, options: ReadOptions<T> = {}): Observable<T[]> {
    return this.#groups.results$(groupId, options);
  }

  groupCompletions$(): Observable<GroupProgress> {
    return this.#view.groupDone$.asObservable();
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
}
