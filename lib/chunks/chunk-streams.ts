import { Observable, type Subscriber, type Unsubscribable } from "rxjs";
import { type DatabaseError, ResultEncodingError } from "../errors";
import type { SubscribedKeys } from "../notifications/notifier";
import type { Notification } from "../notifications/payload";
import type { ChunkPosition } from "../result-backend";
import { toFailedError } from "../value/failure";
import type { Deadlines } from "../waiting/deadlines";
import type { SourceContext } from "../waiting/keyed-source";
import { type LoadReceiver, Loader, type ReadReason } from "../waiting/loader";
import type { Found, ReadAnswer, ReadCare } from "../waiting/read-attempts";
import { Router, type WakeCause, type Watcher } from "../waiting/router";
import type { NotificationReceiver } from "../waiting/sweep";
import { ChunkCursor, type ChunkPage, type StoredChunk } from "./chunk-rules";
import { type ChunkPageRow, type ChunkStatements, chunkStatements } from "./chunk-statements";
import { ChunkStream, type DecodeChunk } from "./chunk-stream";

const what = "chunks";
/** Most chunks in one answer, and most of one task if many are read together. */
const maxChunks = 2_000;
const minPageChunks = 20;

/** A page, and the key under which it was read. */
interface ReadPage extends ChunkPage {
  readonly key: string;
}

/** What a follower receives: a page with the time when its read began, or that its task may have changed. */
type Signal = (ReadPage & Pick<ReadReason, "begunAt">) | "changed";

/**
 * Follows the chunks of tasks. The router knows followers by their task. The loader reads by task and position, so that
 * followers at the same place share a read, and one that is far behind delays no other.
 */
export class ChunkStreams implements LoadReceiver<ReadPage>, NotificationReceiver {
  readonly router: Router<Signal>;
  readonly loader: Loader<ReadPage>;
  readonly deadlines: Deadlines;
  readonly #context: SourceContext;
  readonly #statements: ChunkStatements;

  constructor(context: SourceContext) {
    const { options, schemaCheck, deadlines, sweep, selection, closed, countBatch } = context;
    this.#context = context;
    this.deadlines = deadlines;
    this.#statements = chunkStatements(options);
    // The notifications of a task's chunks and of its result arrive in the same way.
    this.router = new Router<Signal>("tasks", selection);
    const { retryTimeoutMs } = options;
    this.loader = new Loader<ReadPage>(this, { schemaCheck, deadlines, retryTimeoutMs, closed, countBatch });
    sweep.attach(this);
  }

  /** Emits the chunks of a task after a position, and completes or errors when the task has a result. */
  chunks$<T>(taskId: string, after: ChunkPosition, decode: DecodeChunk<T>): ChunkStream<T> {
    return new ChunkStream((from) => this.#follow$(taskId, from), after, decode);
  }

  async read(keys: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<ReadPage>> {
    const places = keys.map(placeOf);
    const values = [
      places.map(({ taskId }) => taskId),
      places.map(({ attempt }) => attempt),
      places.map(({ sequence }) => sequence),
      Math.max(minPageChunks, Math.ceil(maxChunks / Math.max(1, keys.length))),
    ];
    const query = { purpose: "read chunks", text: this.#statements.read, values, isPrepared: true, isPaced: true };
    const rows = await this.#context.database.query<ChunkPageRow>(query, timeoutMs, care?.limitMs);
    const rowsOf = places.map((): ChunkPageRow[] => []);
    for (const row of rows) rowsOf[row[0] - 1]?.push(row);
    const pages = keys.map((key, index): ReadPage => ({
      key,
      ...toPage(places[index]?.taskId ?? "", rowsOf[index] ?? []),
    }));
    return { found: new Map(pages.map((page) => [page.key, { value: page, isOld: false }])) };
  }

  receive({ taskIds, inline, chunkTaskIds }: Notification): number {
    if (this.router.size === 0) return 0;
    const ids = [...chunkTaskIds, ...taskIds, ...inline.map(({ taskId }) => taskId)];
    const followed = ids.filter((taskId) => this.router.has(taskId));
    for (const taskId of followed) this.router.next(taskId, "changed", "notification");
    return followed.length;
  }

  reread({ kind, keys }: SubscribedKeys): void {
    if (kind === "tasks") for (const taskId of keys) this.router.next(taskId, "changed", "reconnect");
  }

  rereadAll(cause: WakeCause): void {
    for (const taskId of [...this.router.keys()]) this.router.next(taskId, "changed", cause);
  }

  found(_key: string, { value }: Found<ReadPage>, { cause, begunAt }: ReadReason): void {
    this.router.nextSince(value.taskId, { ...value, begunAt }, cause, (beganAt) => beganAt <= begunAt);
  }

  /** Never called: there is a page for every key. */
  absent(): void {}

  denied(keys: readonly string[], error: Error): void {
    for (const key of keys) this.router.error(placeOf(key).taskId, error);
  }

  givenUp(_keys: readonly string[], error: DatabaseError, isUrgent: boolean): void {
    this.#context.problems.note(what, error);
    if (isUrgent) this.#context.sweep.hurry();
  }

  recovered(): void {
    this.#context.problems.note(what);
  }

  /** Resolves once nothing is followed. */
  async drain(): Promise<void> {
    await this.router.drain();
  }

  /** Errors every stream, and later ones. */
  close(error: Error): void {
    this.router.close(error);
  }

  #follow$(taskId: string, after: ChunkPosition): Observable<readonly StoredChunk[]> {
    return new Observable((subscriber) => {
      if (this.router.closedBy === undefined) return new Follower(taskId, after, this, this.#context.sweep, subscriber);
      subscriber.error(this.router.closedBy);
      return undefined;
    });
  }
}

/** One subscription to the chunks of a task. */
class Follower implements Watcher<Signal>, Unsubscribable {
  readonly key: string;
  readonly beganAt: number;
  readonly #streams: ChunkStreams;
  readonly #sweep: SourceContext["sweep"];
  readonly #subscriber: Subscriber<readonly StoredChunk[]>;
  readonly #cursor: ChunkCursor;
  /** When the position was reached. */
  #movedAt: number;
  /** The key of a read that was requested and has not been answered. */
  #reading: string | undefined;

  constructor(
    taskId: string,
    after: ChunkPosition,
    streams: ChunkStreams,
    sweep: SourceContext["sweep"],
    subscriber: Subscriber<readonly StoredChunk[]>,
  ) {
    this.key = taskId;
    this.beganAt = streams.deadlines.now();
    this.#movedAt = this.beganAt;
    this.#streams = streams;
    this.#sweep = sweep;
    this.#subscriber = subscriber;
    this.#cursor = new ChunkCursor(after);
    // Added to the router before the read: notifications announce what is emitted from now on, and the read finds the
    // rest.
    streams.router.add(this);
    sweep.enter();
    this.#read("read");
  }

  next(signal: Signal, cause: WakeCause): void {
    if (signal === "changed") {
      this.#read(cause);
      return;
    }
    if (signal.key === this.#reading) this.#reading = undefined;
    if (signal.begunAt >= this.#movedAt) this.#cursor.startOver(signal);
    const taken = this.#cursor.take(signal);
    if (taken.length > 0) {
      this.#movedAt = this.#streams.deadlines.now();
      this.#subscriber.next(taken);
    }
    if (this.#subscriber.closed) return;
    if (!this.#cursor.isBehind(signal)) this.#endWith(signal);
    // The page may belong to another follower, while the own one is still to come.
    else if (this.#reading === undefined) this.#read(cause);
  }

  error(error: Error): void {
    this.#subscriber.error(error);
  }

  unsubscribe(): void {
    this.#streams.router.remove(this);
    this.#sweep.leave();
  }

  #read(cause: WakeCause): void {
    this.#reading = keyOf(this.key, this.#cursor.position);
    this.#streams.loader.request(this.#reading, cause);
  }

  #endWith({ isFinished, error }: ChunkPage): void {
    if (error !== undefined) this.error(error);
    else if (isFinished) this.#subscriber.complete();
  }
}

const keyOf = (taskId: string, { attempt, sequence }: ChunkPosition): string =>
  JSON.stringify([taskId, attempt, sequence]);

function placeOf(key: string): ChunkPosition & { readonly taskId: string } {
  const [taskId, attempt, sequence] = JSON.parse(key) as [string, number, number];
  return { taskId, attempt, sequence };
}

function toPage(taskId: string, rows: readonly ChunkPageRow[]): ChunkPage {
  const [, attempt = 0, latest = "0", isFinished = false, failure = null, hasFailed = false] = rows[0] ?? [];
  const chunks = rows.flatMap(([, , , , , , sequence, text]) =>
    sequence === null ? [] : [{ sequence: Number(sequence), text }],
  );
  const page = { taskId, attempt, sequence: Number(latest), chunks, isFinished };
  if (!isFinished || !hasFailed) return page;
  return { ...page, error: failure === null ? ResultEncodingError.whenRead(taskId) : toFailedError(taskId, failure) };
}
