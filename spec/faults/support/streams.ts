import type { PostgresResultBackend } from "kojin-postgres";
import type { Subscription } from "rxjs";

/** Collects the items of every kind of stream of one backend, and the names of the errors that ended them. */
export class Streams {
  readonly seen: Record<string, unknown[]> = {};
  readonly errors: Record<string, unknown> = {};
  readonly #subscriptions: Subscription[];

  constructor(backend: PostgresResultBackend, prefix: string) {
    const streams = {
      result: backend.result$(`${prefix} task`),
      results: backend.results$({ where: (taskId) => taskId.startsWith(prefix) }),
      group: backend.group$(`${prefix} group`),
      groupMembers: backend.groupMembers$(`${prefix} group`),
      groupResults: backend.groupResults$(`${prefix} group`),
      groupCompletions: backend.groupCompletions$(),
      groupChanges: backend.groupChanges$(),
    };
    this.#subscriptions = Object.entries(streams).map(([name, stream$]) => {
      const seen: unknown[] = (this.seen[name] = []);
      return stream$.subscribe({
        next: (value: unknown) => seen.push(value),
        error: (error: unknown) => (this.errors[name] = error),
      });
    });
  }

  unsubscribe(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }
}
