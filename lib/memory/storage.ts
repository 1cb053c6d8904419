import { asapScheduler, map, observeOn, Subject } from "rxjs";
import type { ChunkPage, ChunkRow } from "../chunks/chunk-rules";
import { TaskFinishedError } from "../errors";
import type { ChunkPosition, GroupProgress } from "../result-backend";
import type { StoredResult } from "../value/decoding";
import type { StoreRow } from "../value/encoding";
import { toFailedError } from "../value/failure";
import { MemoryGroup } from "./group";

/** The chunks of a task that is expected or has emitted. */
interface MemoryStream {
  readonly attempt: number;
  /** JSON texts of the current attempt. */
  readonly texts: string[];
  expiresAt: number;
}

/**
 * Replaces the database: holds results, chunks and groups, and notifies of their changes. Several backends may share
 * one.
 */
export class MemoryStorage {
  readonly #stored = new Subject<StoredResult>();
  readonly #emitted = new Subject<string>();
  readonly #groupChanged = new Subject<MemoryGroup>();
  readonly #groupDone = new Subject<GroupProgress>();
  // As with a database, subscribers are notified after the call that made the change. RxJS schedules this by a promise,
  // which fake timers do not replace; Jest's replace `queueMicrotask`.
  readonly stored$ = this.#stored.pipe(observeOn(asapScheduler));
  readonly emitted$ = this.#emitted.pipe(observeOn(asapScheduler));
  readonly finished$ = this.stored$.pipe(map(({ taskId }) => taskId));
  readonly groupChanged$ = this.#groupChanged.pipe(observeOn(asapScheduler));
  readonly groupDone$ = this.#groupDone.pipe(observeOn(asapScheduler));
  readonly #results = new Map<string, { readonly stored: StoredResult; readonly expiresAt: number }>();
  readonly #streams = new Map<string, MemoryStream>();
  /** Done groups are in the order in which they were done. */
  readonly #groups = new Map<string, MemoryGroup>();

  store({ taskId, result, error, ttlMs, keep }: StoreRow): void {
    if (keep && this.read(taskId) !== undefined) return;
    const stored = { taskId, result, error, storedAt: Date.now() * 1_000 };
    this.#results.set(taskId, { stored, expiresAt: Date.now() + (ttlMs ?? Infinity) });
    this.#stored.next(stored);
  }

  /** Returns the result of a task, unless it has expired. */
  read(taskId: string): StoredResult | undefined {
    if (!this.#results.has(taskId)) return undefined;
    const stored = unlessExpired(this.#results, taskId)?.stored;
    // Chunks expire with the result.
    if (stored === undefined) this.#streams.delete(taskId);
    return stored;
  }

  /** Deletes a result and the chunks of its task. */
  delete(taskId: string): boolean {
    if (this.read(taskId) === undefined) return false;
    this.#streams.delete(taskId);
    return this.#results.delete(taskId);
  }

  /** Marks a task as expected, by a stream that has no chunks yet. */
  expect(taskId: string, ttlMs: number): void {
    if (this.read(taskId) !== undefined) return;
    const present = this.#streams.get(taskId);
    const expiresAt = Date.now() + ttlMs;
    if (present !== undefined && present.expiresAt > Date.now())
      present.expiresAt = Math.max(present.expiresAt, expiresAt);
    else {
      const attempt = present === undefined ? 1 : present.attempt + Math.sign(present.texts.length);
      this.#streams.set(taskId, { attempt, texts: [], expiresAt });
    }
  }

  /** Tells whether a task has a result, is expected, or has chunks. */
  exists(taskId: string): boolean {
    return this.read(taskId) !== undefined || (this.#streams.get(taskId)?.expiresAt ?? 0) > Date.now();
  }

  /** Appends a chunk, and returns its number. */
  emit({ taskId, text, isRestart, ttlMs }: ChunkRow): number {
    if (this.read(taskId) !== undefined) throw new TaskFinishedError(taskId);
    const present = this.#streams.get(taskId);
    const isNext = isRestart || (present !== undefined && present.expiresAt <= Date.now());
    const attempt = (present?.attempt ?? 1) + (isNext ? 1 : 0);
    const stream = present === undefined || isNext ? { attempt, texts: [], expiresAt: 0 } : present;
    stream.texts.push(text);
    stream.expiresAt = Date.now() + (ttlMs ?? Infinity);
    this.#streams.set(taskId, stream);
    this.#emitted.next(taskId);
    return stream.texts.length;
  }

  /** Returns what is stored of a task after a position. */
  chunks(taskId: string, after: ChunkPosition): ChunkPage {
    const result = this.read(taskId);
    const stream = this.#streams.get(taskId);
    const isAlive = result !== undefined || (stream !== undefined && stream.expiresAt > Date.now());
    const { attempt, texts } = (isAlive ? stream : undefined) ?? { attempt: 0, texts: [] };
    const from = attempt === after.attempt ? after.sequence : 0;
    const chunks = texts.slice(from).map((text, index) => ({ sequence: from + index + 1, text }));
    const page = { taskId, attempt, sequence: texts.length, chunks, isFinished: result !== undefined };
    const failure = result?.error ?? null;
    return failure === null ? page : { ...page, error: toFailedError(taskId, failure) };
  }

  /** Returns a group, unless it has expired. */
  group(groupId: string): MemoryGroup | undefined {
    return unlessExpired(this.#groups, groupId);
  }

  /** Deletes a group with its members. */
  deleteGroup(groupId: string): boolean {
    return this.group(groupId) !== undefined && this.#groups.delete(groupId);
  }

  /** Lists the done groups, longest done first. */
  doneGroups(): MemoryGroup[] {
    return [...this.#groups.keys()].flatMap((groupId) => this.group(groupId) ?? []).filter(({ isDone }) => isDone);
  }

  /** Changes an existing or new group, and notifies. If `change` throws, nothing is changed or notified. */
  changeGroup<T>(groupId: string, change: (group: MemoryGroup) => T): T {
    const group = this.group(groupId) ?? new MemoryGroup(groupId);
    const wasDone = group.isDone;
    const outcome = change(group);
    const isNewlyDone = group.isDone && !wasDone;
    // Removed first, so that the group becomes the last in the order of the map.
    if (isNewlyDone) this.#groups.delete(groupId);
    this.#groups.set(groupId, group);
    this.#groupChanged.next(group);
    if (isNewlyDone) this.#groupDone.next(group.progress);
    return outcome;
  }
}

/** Removes expired entries when they are read: a timer for each would keep a test process alive. */
function unlessExpired<T extends { readonly expiresAt: number }>(entries: Map<string, T>, key: string): T | undefined {
  const entry = entries.get(key);
  if (entry === undefined || entry.expiresAt > Date.now()) return entry;
  entries.delete(key);
  return undefined;
}
