import type { Attributes, Span, SpanContext, Tracer } from "@opentelemetry/api";
import { firstValueFrom, type Observable } from "rxjs";
import type { Stats } from "../admin/stats";
import { loadOptional } from "../optional-packages";
import type { ResolvedOptions } from "../options";
import { isError } from "../errors";
import type { StoredResult } from "../value/decoding";
import { attributes, type OpenTelemetryApi, scope } from "./api";
import { Metrics } from "./metrics";

/** Traces and measures the calls of a backend. A backend without telemetry has no instance, so it costs nothing. */
export class Telemetry {
  readonly #api: OpenTelemetryApi;
  readonly #tracer: Tracer | undefined;
  readonly #metrics: Metrics | undefined;
  readonly #destination: string;
  readonly #common: Attributes;

  /** Returns `undefined` if telemetry is off or the API package is not installed. */
  static create({ telemetry: { traces, metrics }, schema, logger }: ResolvedOptions): Telemetry | undefined {
    if (!traces && !metrics) return undefined;
    const api = loadOptional("@opentelemetry/api") as OpenTelemetryApi | undefined;
    if (api !== undefined) return new Telemetry(api, `${schema}.kojin_results`, traces, metrics);
    logger.warn("Telemetry is off: the package @opentelemetry/api is not installed.");
    return undefined;
  }

  private constructor(api: OpenTelemetryApi, destination: string, traces: boolean, metrics: boolean) {
    this.#api = api;
    this.#destination = destination;
    this.#common = attributes.of(destination);
    // The tracer forwards to the global provider, even if that is set later.
    this.#tracer = traces ? api.trace.getTracer(scope.name, scope.version) : undefined;
    this.#metrics = metrics ? Metrics.of(api) : undefined;
  }

  /** True if results are stored with the context of their span. */
  get isTracing(): boolean {
    return this.#tracer !== undefined;
  }

  /** Reports the figures of a backend until the returned function is called. */
  observe(stats: () => Stats): (() => void) | undefined {
    return this.#metrics?.observe(this.#destination, stats);
  }

  /** Returns a function that records the size of a batch. */
  batchesOf(kind: "store" | "group" | "emit" | "read"): ((size: number) => void) | undefined {
    const metrics = this.#metrics;
    if (metrics === undefined) return undefined;
    const labels = { ...this.#common, [attributes.batchKind]: kind };
    return (size) => metrics.batchSize.record(size, labels);
  }

  /** Traces a store. `send` takes the trace context to store with the result. */
  async store(
    name: "store" | "fail",
    taskId: string,
    send: (traceContext: string | null) => Promise<void>,
  ): Promise<void> {
    await this.#run(name, taskId, async (span) =>
      send(span === undefined ? null : encodeTraceContext(span.spanContext())),
    );
  }

  async wait(taskId: string, stored$: Observable<StoredResult>): Promise<StoredResult> {
    const startedAt = performance.now();
    return this.#run("wait", taskId, async (span) => {
      const stored = await firstValueFrom(stored$);
      this.#recordWakeup(stored, performance.now() - startedAt);
      span?.setAttribute(attributes.taskStatus, stored.error === null ? "fulfilled" : "rejected");
      // The storing span is known only now. It is a link rather than a parent, since several waits may get one result.
      const context = decodeTraceContext(stored.traceContext);
      if (context !== undefined) span?.addLink({ context });
      return stored;
    });
  }

  /**
   * Records the age of a result, unless it was stored before the wait began. The database measures it from the store to
   * the read, so no two clocks are compared. The time until the answer arrives is not included.
   */
  #recordWakeup({ ageMs }: StoredResult, waitedMs: number): void {
    if (ageMs === undefined || ageMs > waitedMs) return;
    this.#metrics?.wakeDuration.record(Math.max(ageMs, 0) / 1_000, this.#common);
  }

  async #run<T>(name: "store" | "fail" | "wait", taskId: string, work: (span?: Span) => Promise<T>): Promise<T> {
    const { context, trace, SpanKind, SpanStatusCode } = this.#api;
    const [type, kind] = name === "wait" ? ["receive", SpanKind.CLIENT] : ["send", SpanKind.PRODUCER];
    const labels: Attributes = { ...this.#common, [attributes.operationName]: name, [attributes.operationType]: type };
    const span = this.#tracer?.startSpan(`${name} ${this.#destination}`, {
      kind,
      attributes: { ...labels, [attributes.messageId]: taskId },
    });
    const startedAt = performance.now();
    try {
      if (span === undefined) return await work();
      return await context.with(trace.setSpan(context.active(), span), async () => work(span));
    } catch (error) {
      const errorType = isError(error) ? error.name : "_OTHER";
      labels[attributes.errorType] = errorType;
      span?.setAttribute(attributes.errorType, errorType);
      span?.recordException(isError(error) ? error : String(error));
      span?.setStatus({ code: SpanStatusCode.ERROR, message: isError(error) ? error.message : String(error) });
      throw error;
    } finally {
      span?.end();
      this.#metrics?.operationDuration.record((performance.now() - startedAt) / 1_000, labels);
    }
  }
}

// Version, trace id, span id and flags (W3C Trace Context, "traceparent header"). Ids of only zeros are invalid.
const traceparent = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/**
 * Encodes a span for the column `trace_context`: always as W3C does, since the processes that read it may use another
 * propagator than this one. Returns `null` for a span without an id, which an API without an SDK creates.
 */
function encodeTraceContext({ traceId, spanId, traceFlags }: SpanContext): string | null {
  const text = `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
  return traceparent.test(text) ? text : null;
}

/** Returns `undefined` for text in another format, since any writer may fill the column. */
function decodeTraceContext(text: string | null | undefined): SpanContext | undefined {
  const [, traceId, spanId, flags] = traceparent.exec(text ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
