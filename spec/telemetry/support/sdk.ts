import { context, metrics, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricData,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";

/** The SDK of OpenTelemetry as an application would set it up, but for exporters that keep everything here. */
export class Sdk {
  readonly #spans = new InMemorySpanExporter();
  readonly #metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  readonly #reader = new PeriodicExportingMetricReader({ exporter: this.#metrics, exportIntervalMillis: 3_600_000 });

  start(sampler?: Sampler): void {
    const tracers = new BasicTracerProvider({
      spanProcessors: [new SimpleSpanProcessor(this.#spans)],
      ...(sampler === undefined ? {} : { sampler }),
    });
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    trace.setGlobalTracerProvider(tracers);
    metrics.setGlobalMeterProvider(new MeterProvider({ readers: [this.#reader] }));
  }

  /** Spans that have ended, under a name. */
  spans(name: string): ReadableSpan[] {
    return this.#spans.getFinishedSpans().filter((span) => span.name === name);
  }

  /** The last of them that is about a task. */
  spanOf(name: string, taskId: string): ReadableSpan {
    const span = this.spans(name).findLast(({ attributes }) => attributes["messaging.message.id"] === taskId);
    if (span === undefined) throw new Error(`There is no span ${name} of ${taskId}.`);
    return span;
  }

  /** All metrics, as they are now. */
  async metrics(): Promise<readonly MetricData[]> {
    await this.#reader.forceFlush();
    const latest = this.#metrics.getMetrics().at(-1);
    return latest?.scopeMetrics.flatMap((scope) => scope.metrics) ?? [];
  }

  /** The value of a metric, of those of its points that have the attributes. */
  async metric(name: string, attributes: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const metric = (await this.metrics()).find(({ descriptor }) => descriptor.name === name);
    const point = metric?.dataPoints.find((each) =>
      Object.entries(attributes).every(([key, value]) => each.attributes[key] === value),
    );
    return point?.value;
  }

  async stop(): Promise<void> {
    await this.#reader.shutdown();
    trace.disable();
    metrics.disable();
    context.disable();
  }
}
