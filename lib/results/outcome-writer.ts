import { ResultEncodingError } from "../errors";
import { plainerFailures } from "../value/failure";
import { BatchedWriter } from "./batched-writer";
import { type MergeRows, OutcomeItem } from "./write-item";

/** The part of a row that all kinds have: an outcome of a task. */
interface OutcomeRow {
  readonly taskId: string;
  /** JSON text. */
  readonly result: string | null;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
}

/** Writes outcomes of tasks. Of several rows with the same key that are queued, only one is written. */
export abstract class OutcomeWriter<Row extends OutcomeRow, Outcome> extends BatchedWriter<Row, Outcome> {
  protected abstract readonly merge: MergeRows<Row>;

  /**
   * Writes a row; a failure whose text the server refuses once more in plainer ones, since a failure has to reach its
   * waiters.
   */
  protected write(key: string, row: Row): Promise<Outcome> {
    const { error } = row;
    const writing = this.#add(key, row);
    return error === null ? writing : writing.catch((refusal: unknown) => this.#writePlainer(key, row, error, refusal));
  }

  #add(key: string, row: Row): Promise<Outcome> {
    const bytes = Buffer.byteLength(row.result ?? "") + Buffer.byteLength(row.error ?? "");
    const call = this.createCall<Outcome>();
    this.enqueue(new OutcomeItem(key, bytes, row, call, this.merge, this.abandon));
    return call.promise;
  }

  async #writePlainer(key: string, row: Row, failure: string, refusal: unknown): Promise<Outcome> {
    let lastRefusal = refusal;
    const texts = refusal instanceof ResultEncodingError ? plainerFailures(failure) : [];
    for (const error of texts) {
      try {
        return await this.#add(key, { ...row, error });
      } catch (nextRefusal) {
        if (!(nextRefusal instanceof ResultEncodingError)) throw nextRefusal;
        lastRefusal = nextRefusal;
      }
    }
    throw lastRefusal;
  }
}
