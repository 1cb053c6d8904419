import { Observable, type Subscriber } from "rxjs";
import type { Deadline, Deadlines } from "../waiting/deadlines";
import { WaitTimeoutError } from "../errors";
import type { MemoryGroup } from "./group";

/** A group at each of its changes, until its deadline, if it has one and is open then. Whoever watches has to leave when it is done. */
export function untilDeadline(group$: Observable<MemoryGroup>, deadlines: Deadlines): Observable<MemoryGroup> {
  return new Observable((subscriber) => {
    const watch = new GroupWatch(deadlines, subscriber);
    const subscription = group$.subscribe({
      next: (group) => watch.next(group),
      error: (error) => subscriber.error(error),
    });
    subscription.add(() => deadlines.remove(watch));
    return subscription;
  });
}

class GroupWatch implements Deadline {
  heapIndex = -1;
  dueAt = Infinity;
  readonly #deadlines: Deadlines;
  readonly #subscriber: Subscriber<MemoryGroup>;
  #seen: MemoryGroup | undefined;

  constructor(deadlines: Deadlines, subscriber: Subscriber<MemoryGroup>) {
    this.#deadlines = deadlines;
    this.#subscriber = subscriber;
  }

  next(group: MemoryGroup): void {
    // Another one of this name has begun before the timer told that the time of this one was up.
    if (this.#seen !== undefined && this.#seen !== group) {
      this.expire();
      return;
    }
    this.#seen = group;
    this.#deadlines.remove(this);
    this.dueAt = group.expiresAt;
    this.#deadlines.add(this);
    this.#subscriber.next(group);
  }

  expire(): void {
    const group = this.#seen;
    if (group === undefined) return;
    this.#subscriber.error(WaitTimeoutError.forGroup(group.groupId, group.deadlineMs, group.progress()));
  }
}
