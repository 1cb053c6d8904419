import type { BatchItem } from "./batcher";
import type { Call } from "./deadlines";
import type { WakeCause } from "./router";

/** A key to read, with the reason and the calls that wait for it. */
export class LoadItem<T> implements BatchItem {
  readonly bytes = 0;
  readonly calls: Call<T | undefined>[] = [];

  constructor(
    readonly key: string,
    public cause: WakeCause,
    /** Set if it is read for those who watch the key, however many calls there are. */
    public isRequested: boolean,
    public isAnnounced: boolean,
  ) {}

  /** Not set once every call has been rejected. */
  get isWanted(): boolean {
    return this.isRequested || this.calls.some(({ isSettled }) => !isSettled);
  }

  /**
   * Takes over what another item of the same key was added for. The meaning of a notification survives: streams emit what it announces, and a sweep that meets one has caught
   * nothing. Changes this item: copying the calls each time took a minute for 40 000 of them.
   */
  absorb(added: LoadItem<T>): this {
    if (added.cause === "notification") this.cause = added.cause;
    this.isRequested ||= added.isRequested;
    this.isAnnounced ||= added.isAnnounced;
    this.calls.push(...added.calls);
    return this;
  }
}
