import type { Attributes, Histogram, MeterProvider, Observable } from "@opentelemetry/api";
import type { Stats } from "../admin/stats";
import type { OpenTelemetryApi } from "./api";
import { attributes, scope } from "./names";

const causes = ["read", "notification", "inline", "reconnect", "sweep", "deadline"] as const;
// From half a millisecond, which a wake-up can take, to where only a sweep or a slow task explains it.
const durationBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const batchBuckets = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/** One number of `stats()`, as a metric. */
interface Series {
  readonly instrument: Observable;
  readonly attributes: Attributes;
  readonly of: (stats: Stats) => number;
  /** Whether it only grows, so that what a closed backend has counted stays part of it. */
  readonly isCounter: boolean;
}

interface Backends {
  readonly open: Set<() => Stats>;
  /** What closed ones have counted, for each series. */
  readonly closed: number[];
}

/**
 * The instruments of this process. One set for each provider, and not for each backend: two backends on the same tables report the same series, and what an SDK would
 * keep of two observations is the last.
 */
export class Metrics {
  static readonly #known = new WeakMap<MeterProvider, Metrics>();
  readonly operationDuration: Histogram;
  readonly wakeupDuration: Histogram;
  readonly batchSize: Histogram;
  readonly #series: readonly Series[];
  readonly #backends = new Map<string, Backends>();

  static of(api: OpenTelemetryApi): Metrics {
    const provider = api.metrics.getMeterProvider();
    const metrics = Metrics.#known.get(provider) ?? new Metrics(provider);
    Metrics.#known.set(provider, metrics);
    return metrics;
  }

  private constructor(provider: MeterProvider) {
    const meter = provider.getMeter(scope.name, scope.version);
    const histogram = (name: string, description: string, unit: string, buckets: number[]): Histogram =>
      meter.createHistogram(name, { description, unit, advice: { explicitBucketBoundaries: buckets } });
    const counter = (name: string, description: string, unit: string): Observable =>
      meter.createObservableCounter(name, { description, unit });
    this.operationDuration = histogram(
      "messaging.client.operation.duration",
      "Duration of store, fail and wait.",
      "s",
      durationBuckets,
    );
    this.wakeupDuration = histogram(
      "kojin.client.wakeup.duration",
      "Time from when a result was written, while somebody waited for it, to when the wait had it.",
      "s",
      durationBuckets,
    );
    this.batchSize = histogram("kojin.client.batch.size", "Rows, or ids, of a statement.", "{row}", batchBuckets);
    const waits = meter.createObservableUpDownCounter("kojin.client.wait.count", {
      description: "Tasks, and groups, that somebody waits for.",
      unit: "{wait}",
    });
    const wakeups = counter("kojin.client.wakeups", "Waits that came to their result, by how.", "{wakeup}");
    const only = (instrument: Observable, of: Series["of"]): Series => ({
      instrument,
      attributes: {},
      of,
      isCounter: true,
    });
    this.#series = [
      { instrument: waits, attributes: { [attributes.waitKind]: "task" }, of: (s) => s.waiting, isCounter: false },
      {
        instrument: waits,
        attributes: { [attributes.waitKind]: "group" },
        of: (s) => s.waitingGroups,
        isCounter: false,
      },
      ...causes.map((cause) => ({
        ...only(wakeups, ({ wokenBy }) => wokenBy[cause]),
        attributes: { [attributes.wakeCause]: cause },
      })),
      only(
        counter("kojin.client.listener.reconnects", "Listening connections lost.", "{reconnect}"),
        (s) => s.reconnects,
      ),
      only(
        counter("kojin.client.sweep.caught", "What a sweep found that a notification should have told of.", "{result}"),
        (s) => s.caughtBySweep,
      ),
      only(counter("messaging.client.sent.messages", "Results stored.", "{message}"), ({ stores }) => stores.rows),
    ];
    const instruments = new Set(this.#series.map(({ instrument }) => instrument));
    meter.addBatchObservableCallback(
      (result) => {
        for (const [destination, backends] of this.#backends)
          for (const [index, series] of this.#series.entries())
            result.observe(series.instrument, sumOf(series, index, backends), {
              ...attributes.of(destination),
              ...series.attributes,
            });
      },
      [...instruments],
    );
  }

  /** Reports the numbers of a backend until the function that it gives is called, which keeps what it has counted. */
  observe(destination: string, stats: () => Stats): () => void {
    const backends = this.#backends.get(destination) ?? { open: new Set(), closed: this.#series.map(() => 0) };
    this.#backends.set(destination, backends);
    backends.open.add(stats);
    return () => {
      if (!backends.open.delete(stats)) return;
      const last = stats();
      for (const [index, { of, isCounter }] of this.#series.entries())
        if (isCounter) backends.closed[index] = (backends.closed[index] ?? 0) + of(last);
    };
  }
}

function sumOf({ of }: Series, index: number, { open, closed }: Backends): number {
  return [...open].reduce((sum, stats) => sum + of(stats()), closed[index] ?? 0);
}
