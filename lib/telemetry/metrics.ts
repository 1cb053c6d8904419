import type {
  Attributes,
  BatchObservableResult,
  Histogram,
  Meter,
  MeterProvider,
  Observable,
} from "@opentelemetry/api";
import type { Stats } from "../admin/stats";
import { attributes, type OpenTelemetryApi, scope } from "./api";

const wakeCauses = ["read", "notification", "inline", "reconnect", "sweep", "deadline"] as const;
// From half a millisecond, the shortest wake-up, to a minute, which only a slow task or a sweep explains.
const secondsBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const rowsBuckets = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/** One figure of `stats()` as a series of a metric. */
interface Series {
  readonly instrument: Observable;
  readonly labels: Attributes;
  readonly read: (stats: Stats) => number;
  /** A counter only grows, so the counts of closed backends remain in the sum. */
  readonly isCounter: boolean;
}

/** The backends on the same tables. */
interface Backends {
  readonly open: Set<() => Stats>;
  readonly closedCounts: Map<Series, number>;
}

/**
 * The instruments of one meter provider. All backends share them: backends on the same tables report the same series,
 * and an SDK keeps only the last of several observations.
 */
export class Metrics {
  static readonly #instances = new WeakMap<MeterProvider, Metrics>();
  readonly operationDuration: Histogram;
  readonly wakeDuration: Histogram;
  readonly batchSize: Histogram;
  readonly #series: readonly Series[];
  readonly #backends = new Map<string, Backends>();

  static of(api: OpenTelemetryApi): Metrics {
    const provider = api.metrics.getMeterProvider();
    const metrics = Metrics.#instances.get(provider) ?? new Metrics(provider);
    Metrics.#instances.set(provider, metrics);
    return metrics;
  }

  private constructor(provider: MeterProvider) {
    const meter = provider.getMeter(scope.name, scope.version);
    const histogram = (name: string, unit: string, buckets: number[], description: string): Histogram =>
      meter.createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: buckets } });
    const [operation, wake] = ["messaging.client.operation.duration", "kojin.client.wake.duration"];
    this.operationDuration = histogram(operation, "s", secondsBuckets, "Duration of store, fail and wait.");
    this.wakeDuration = histogram(wake, "s", secondsBuckets, "Time from storing a result to the end of its wait.");
    this.batchSize = histogram("kojin.client.batch.size", "{row}", rowsBuckets, "Rows or ids per statement.");
    this.#series = createSeries(meter);
    const instruments = new Set(this.#series.map(({ instrument }) => instrument));
    meter.addBatchObservableCallback((result) => this.#report(result), [...instruments]);
  }

  /** Reports the figures of a backend until the returned function is called, which keeps its counts. */
  observe(destination: string, stats: () => Stats): () => void {
    const backends: Backends = this.#backends.get(destination) ?? { open: new Set(), closedCounts: new Map() };
    this.#backends.set(destination, backends);
    const { open, closedCounts } = backends;
    open.add(stats);
    return () => {
      if (!open.delete(stats)) return;
      const last = stats();
      for (const series of this.#series)
        if (series.isCounter) closedCounts.set(series, (closedCounts.get(series) ?? 0) + series.read(last));
    };
  }

  #report(result: BatchObservableResult): void {
    for (const [destination, { open, closedCounts }] of this.#backends) {
      const all = [...open].map((stats) => stats());
      for (const series of this.#series) {
        const sum = all.reduce((total, stats) => total + series.read(stats), closedCounts.get(series) ?? 0);
        result.observe(series.instrument, sum, { ...attributes.of(destination), ...series.labels });
      }
    }
  }
}

function createSeries(meter: Meter): readonly Series[] {
  const waits = meter.createObservableUpDownCounter("kojin.client.wait.count", {
    description: "Open waits for tasks and groups.",
    unit: "{wait}",
  });
  const waitsOf = (kind: string, read: Series["read"]): Series => {
    return { instrument: waits, labels: { [attributes.waitKind]: kind }, read, isCounter: false };
  };
  const counter = (name: string, unit: string, description: string): Observable =>
    meter.createObservableCounter(name, { description, unit });
  const count = (instrument: Observable, read: Series["read"], labels: Attributes = {}): Series => {
    return { instrument, labels, read, isCounter: true };
  };
  const wakes = counter("kojin.client.wakes", "{wake}", "Waits that got a result, by cause.");
  const reconnects = counter("kojin.client.listener.reconnects", "{reconnect}", "LISTEN connections lost.");
  const caught = counter("kojin.client.sweep.caught", "{result}", "Results that a sweep found without a notification.");
  const sent = counter("messaging.client.sent.messages", "{message}", "Results and failures stored.");
  return [
    waitsOf("task", ({ waiting }) => waiting),
    waitsOf("group", ({ waitingGroups }) => waitingGroups),
    ...wakeCauses.map((cause) => count(wakes, ({ wokenBy }) => wokenBy[cause], { [attributes.wakeCause]: cause })),
    count(reconnects, (stats) => stats.reconnects),
    count(caught, ({ caughtBySweep }) => caughtBySweep),
    count(sent, ({ stores }) => stores.rows),
  ];
}
