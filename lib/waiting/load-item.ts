import type { BatchItem } from "./batcher";
import type { CallItem, QueuedCall } from "./call";
import type { WakeCause } from "./router";

/** A key to read, with the reason and the calls that wait for it. */
export class LoadItem<T> implements BatchItem, CallItem {
  readonly bytes = 0;
  readonly calls: QueuedCall<T | undefined>[] = [];
  /** Calls that have not been rejected. */
  #open = 0;

  constructor(
    readonly key: string,
    public cause: WakeCause,
    /** Whether it is read for those who watch the key, however many calls there are. */
    public isRequested: boolean,
    public isAnnounced: boolean,
    readonly abandon: (item: LoadItem<T>) => void,
  ) {}

  add(call: QueuedCall<T | undefined>): void {
    call.item = this;
    this.calls.push(call);
    this.#open += 1;
  }

  get isWanted(): boolean {
    return this.isRequested || this.#open > 0;
  }

  leave(): void {
    this.#open -= 1;
    if (this.#open === 0 && !this.isRequested) this.abandon(this);
  }

  /**
   * Takes over what another item of the same key was added for. The meaning of a notification survives: streams emit what it announces, and a sweep that meets one has caught
   * nothing. Changes this item: copying the calls each time took a minute for 40 000 of them.
   */
  absorb(added: LoadItem<T>): this {
    if (added.cause === "notification") this.cause = added.cause;
    this.isRequested ||= added.isRequested;
    this.isAnnounced ||= added.isAnnounced;
    for (const call of added.calls) this.add(call);
    return this;
  }
}
