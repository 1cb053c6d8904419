import { escapeIdentifier } from "pg";
import { WaitTimeoutError } from "../errors";
import type { Notification } from "../notifications/payload";
import type { StoredResult } from "../value/decoding";
import type { Mark } from "../waiting/feed-history";
import { KeyedSource, type SourceContext } from "../waiting/keyed-source";
import type { ReadReason } from "../waiting/loader";
import type { Found, ReadAnswer, ReadCare } from "../waiting/read-attempts";
import type { WakeCause } from "../waiting/router";
import { isPresent } from "./expressions";
import { ResultReads } from "./result-reads";
import { commitStatements, TableCommits } from "./table-commits";

/** Reads and awaits results of tasks. */
export class Results extends KeyedSource<StoredResult> {
  readonly commits: TableCommits;
  readonly #reads: ResultReads;

  constructor(context: SourceContext) {
    super(context, { kind: "tasks", values: "results", news: "what was stored" });
    const { database, options } = context;
    const statements = commitStatements({
      table: `${escapeIdentifier(options.schema)}.kojin_results`,
      key: "task_id",
      xid: "stored_xid",
      time: "stored_at",
      latest: "pg_catalog.clock_timestamp()",
      isThere: isPresent,
    });
    this.commits = new TableCommits(database, statements, options.retryTimeoutMs);
    this.#reads = new ResultReads(context);
  }

  read(taskIds: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<StoredResult>> {
    return this.#reads.read(taskIds, timeoutMs, care);
  }

  isAnswer(): boolean {
    return true;
  }

  timeoutError(
    taskId: string,
    timeoutMs: number,
    _latest: StoredResult | undefined,
    options?: ErrorOptions,
  ): WaitTimeoutError {
    return new WaitTimeoutError({ taskId }, timeoutMs, options);
  }

  markOf({ taskId, storedXid = 0 }: StoredResult): Mark {
    return { key: taskId, xid: storedXid };
  }

  /** Resolves once no wait is open. */
  async drain(): Promise<void> {
    await this.router.drain();
  }

  receive({ taskIds, inline }: Notification): number {
    const trustInline = this.context.options.inlineResultBytes > 0;
    let relevant = 0;
    for (const taskId of taskIds) if (this.#requestIfAwaited(taskId)) relevant += 1;
    for (const stored of inline)
      if (trustInline ? this.#receiveInline(stored) : this.#requestIfAwaited(stored.taskId)) relevant += 1;
    return relevant;
  }

  override rereadAll(cause: WakeCause): void {
    // The new connection may reach another server.
    if (cause === "reconnect" && this.context.options.inlineResultBytes > 0) this.context.clock.refresh();
    super.rereadAll(cause);
  }

  override found(taskId: string, found: Found<StoredResult>, reason: ReadReason): void {
    super.found(taskId, found, reason);
    this.feed.offer(found.value, reason);
  }

  #isAwaited(taskId: string): boolean {
    return this.router.has(taskId) || this.feed.wants(taskId);
  }

  #requestIfAwaited(taskId: string): boolean {
    const isAwaited = this.#isAwaited(taskId);
    if (isAwaited) this.loader.request(taskId, "notification", true);
    return isAwaited;
  }

  #receiveInline(stored: StoredResult): boolean {
    const { taskId } = stored;
    if (!this.#isAwaited(taskId)) return false;
    const isTooOld = this.router.nextSince(taskId, stored, "inline", this.#isStoredAfter(stored));
    const isEmitted = this.feed.offerUnread(stored);
    if (isTooOld || !isEmitted) this.loader.request(taskId, "notification", true);
    return true;
  }

  /**
   * Tells whether a result was certainly stored after a local moment. Notifications can be late, so an older result may
   * have been deleted or replaced. A time in the future proves nothing.
   */
  #isStoredAfter({ storedAt }: StoredResult): (beganAt: number) => boolean {
    const { clock, deadlines } = this.context;
    // Called first, since it makes the clock be read if it is unknown.
    const now = clock.upper(deadlines.now());
    const isPast = clock.isKnown && storedAt <= now;
    return (beganAt) => isPast && storedAt > clock.upper(beganAt);
  }
}
