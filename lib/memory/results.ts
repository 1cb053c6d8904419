import { filter, type Observable, take } from "rxjs";
import { WaitTimeoutError } from "../errors";
import type { StoredResult } from "../value/stored-result";
import type {
  ReadOptions,
  ResultFeedOptions,
  StoreOptions,
  TaskOutcome,
  WaitOptions,
  WriteOptions,
} from "../result-backend";
import { toStoreRow } from "../results/store-row";
import { checkId, typeName } from "../value/arguments";
import { encodeFailure } from "../value/failure";
import { encodeResult } from "../value/json";
import { checkSchema } from "../value/schema";
import type { MemoryView } from "./view";

/** Results of tasks, in memory. */
export class MemoryResults {
  readonly #view: MemoryView;

  constructor(view: MemoryView) {
    this.#view = view;
  }

  store(taskId: string, result: unknown, options: StoreOptions): void {
    checkId(taskId, "taskId");
    this.#write(taskId, encodeResult(taskId, result, this.#view.maxResultBytes, this.#view.codec), null, options);
  }

  fail(taskId: string, error: unknown, options: StoreOptions): void {
    checkId(taskId, "taskId");
    this.#write(taskId, "null", encodeFailure(error, this.#view.maxResultBytes), options);
  }

  read(taskId: string): StoredResult | undefined {
    checkId(taskId, "taskId");
    this.#view.assertOpen();
    return this.#view.storage.read(taskId);
  }

  async wait(taskId: string, options: WaitOptions): Promise<StoredResult> {
    checkId(taskId, "taskId");
    const stored$ = this.#view.results.watch$(taskId);
    return this.#view.first(stored$, options, () => new WaitTimeoutError({ taskId }, options.timeoutMs));
  }

  delete(taskId: string, options: WriteOptions): boolean {
    checkId(taskId, "taskId");
    refuseClient(options);
    this.#view.assertOpen();
    return this.#view.storage.delete(taskId);
  }

  result$<T>(taskId: string, { schema }: ReadOptions<T>): Observable<T> {
    checkId(taskId, "taskId");
    checkSchema(schema);
    const { reader, results } = this.#view;
    return reader.values$(results.watch$(taskId).pipe(take(1)), schema);
  }

  results$<T>({ where = () => true, schema }: ResultFeedOptions<T>): Observable<TaskOutcome<T>> {
    if (typeof where !== "function") throw new TypeError(`where: expected a function, got ${typeName(where)}.`);
    checkSchema(schema);
    const { reader, stored$ } = this.#view;
    return reader.outcomes$(stored$.pipe(filter(({ taskId }) => where(taskId))), schema);
  }

  #write(taskId: string, result: string, error: string | null, options: StoreOptions): void {
    const row = toStoreRow(taskId, result, error, options, this.#view.ttlMs);
    refuseClient(options);
    this.#view.assertOpen();
    this.#view.storage.store(row);
  }
}

/** A write that seems to belong to a transaction, and does not, would pass a test that has to fail. */
export function refuseClient({ client }: WriteOptions): void {
  if (client === undefined) return;
  throw new TypeError(
    `client: expected none, as what is in memory takes part in no transaction, got ${typeName(client)}.`,
  );
}
