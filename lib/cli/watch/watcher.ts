import { Subscription } from "rxjs";
import type { TaskFailedError } from "../../errors";
import type { GroupProgress, PostgresResultBackend, TaskOutcome } from "../../index";
import { exactFailure } from "../../value/failure";
import { asJsonText, type JsonText } from "../../value/json-text";
import type { WatchEvent, WatchView } from "./events";

export interface WatchOptions {
  readonly results: boolean;
  readonly groups: boolean;
  /** Only ids that begin so. */
  readonly prefix: string;
  /** Whether values are shown, and not only that there are some. */
  readonly showResults: boolean;
  readonly ratesIntervalMs: number;
  readonly signal: AbortSignal;
  /** Ends by itself after that, in milliseconds; `Infinity` never. */
  readonly forMs: number;
}

// A union's members lose what they do not share when a key is taken away from the whole.
type Untimed<T> = T extends unknown ? Omit<T, "at"> : never;

/** Shows what happens in a backend until it is told to end; rejects if the streams do. */
export class Watcher {
  readonly #backend: PostgresResultBackend;
  readonly #view: WatchView;
  readonly #options: WatchOptions;
  readonly #open = new Set<string>();
  #results = 0;
  #failures = 0;
  #groupsDone = 0;
  #resultsBefore = 0;
  #ratesAt = performance.now();

  constructor(backend: PostgresResultBackend, view: WatchView, options: WatchOptions) {
    this.#backend = backend;
    this.#view = view;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { signal, forMs, ratesIntervalMs } = this.#options;
    const subscriptions = new Subscription();
    const timer = setInterval(() => this.#showRates(), ratesIntervalMs);
    let ending: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        signal.addEventListener("abort", () => resolve(), { once: true });
        if (signal.aborted) resolve();
        if (forMs !== Infinity) ending = setTimeout(resolve, forMs);
        this.#subscribe(subscriptions, reject);
      });
      this.#showRates();
    } finally {
      clearInterval(timer);
      clearTimeout(ending);
      subscriptions.unsubscribe();
      this.#view.close();
    }
  }

  #subscribe(subscriptions: Subscription, fail: (error: Error) => void): void {
    const { results, groups, prefix } = this.#options;
    const error = fail;
    // First the streams: "listening" then says that from here on nothing is missed.
    if (results) {
      const where = (taskId: string): boolean => taskId.startsWith(prefix);
      subscriptions.add(
        this.#backend
          .results$({ where, schema: asJsonText })
          .subscribe({ next: (outcome) => this.#onResult(outcome), error }),
      );
    }
    if (groups) {
      subscriptions.add(
        this.#backend.groupChanges$().subscribe({
          next: (progress) => {
            if (!progress.groupId.startsWith(prefix)) return;
            this.#countGroup(progress);
            this.#show({ type: "group", ...progress });
          },
          error,
        }),
      );
    }
    subscriptions.add(this.#backend.status$.subscribe((status) => this.#show({ type: "listener", status })));
  }

  #onResult(outcome: TaskOutcome<JsonText>): void {
    const { taskId } = outcome;
    this.#results += 1;
    if (outcome.status === "fulfilled") {
      const value = this.#options.showResults ? { value: outcome.value } : {};
      this.#show({ type: "result", taskId, status: "fulfilled", ...value });
    } else {
      this.#failures += 1;
      const { failure } = outcome.reason as TaskFailedError;
      this.#show({ type: "result", taskId, status: "rejected", failure: exactFailure(failure) });
    }
  }

  #countGroup({ groupId, done }: GroupProgress): void {
    if (!done) {
      this.#open.add(groupId);
      return;
    }
    this.#open.delete(groupId);
    this.#groupsDone += 1;
  }

  #showRates(): void {
    const now = performance.now();
    const resultsPerSecond = ((this.#results - this.#resultsBefore) * 1_000) / Math.max(1, now - this.#ratesAt);
    [this.#resultsBefore, this.#ratesAt] = [this.#results, now];
    this.#show({
      type: "rates",
      results: this.#results,
      failures: this.#failures,
      groupsDone: this.#groupsDone,
      openGroups: this.#open.size,
      resultsPerSecond: Math.round(resultsPerSecond * 10) / 10,
    });
  }

  #show(event: Untimed<WatchEvent>): void {
    this.#view.show({ at: new Date().toISOString(), ...event });
  }
}
