import { firstValueFrom, type Observable } from "rxjs";
import type { Attributes, Span, Tracer } from "@opentelemetry/api";
import type { StoredResult } from "../value/stored-result";
import type { ResolvedOptions } from "../options";
import type { Stats } from "../admin/stats";
import { loadApi, type OpenTelemetryApi } from "./api";
import { Metrics } from "./metrics";
import { attributes, scope } from "./names";
import { decodeTraceContext, encodeTraceContext } from "./trace-context";
import { isError } from "../value/foreign";

interface Operation {
  readonly name: "store" | "fail" | "wait";
  readonly type: "send" | "receive";
  readonly kind: "PRODUCER" | "CLIENT";
}

const operations = {
  store: { name: "store", type: "send", kind: "PRODUCER" },
  fail: { name: "fail", type: "send", kind: "PRODUCER" },
  wait: { name: "wait", type: "receive", kind: "CLIENT" },
} as const satisfies Record<string, Operation>;

/** What a backend shows of itself to OpenTelemetry. There is none where it is off, or where the API is not installed; then nothing here runs at all. */
export class Telemetry {
  readonly #api: OpenTelemetryApi;
  readonly #tracer: Tracer | undefined;
  readonly #metrics: Metrics | undefined;
  readonly #destination: string;
  readonly #common: Attributes;

  /** Of what the options ask for; `undefined` if that is nothing, or cannot be had. */
  static create(
    { telemetry: { traces, metrics }, schema, logger }: ResolvedOptions,
    load = loadApi,
  ): Telemetry | undefined {
    if (!traces && !metrics) return undefined;
    const api = load();
    if (api !== undefined) return new Telemetry(api, `${schema}.kojin_results`, traces, metrics);
    logger.warn("There is no telemetry, though it is asked for: the package @opentelemetry/api is not installed.");
    return undefined;
  }

  constructor(api: OpenTelemetryApi, destination: string, traces: boolean, metrics: boolean) {
    this.#api = api;
    this.#destination = destination;
    this.#common = attributes.of(destination);
    // By the global provider, also where it is set later: what `getTracer` gives then passes spans on to it.
    this.#tracer = traces ? api.trace.getTracer(scope.name, scope.version) : undefined;
    this.#metrics = metrics ? Metrics.of(api) : undefined;
  }

  /** Whether results are to carry the context of the span that stored them. */
  get isTracing(): boolean {
    return this.#tracer !== undefined;
  }

  /** Reports the numbers of a backend until the function that it gives is called. */
  observe(stats: () => Stats): (() => void) | undefined {
    return this.#metrics?.observe(this.#destination, stats);
  }

  /** Where to tell the sizes of batches of a kind. */
  batchesOf(kind: "store" | "group" | "read"): ((size: number) => void) | undefined {
    const metrics = this.#metrics;
    if (metrics === undefined) return undefined;
    const labels = { ...this.#common, [attributes.batchKind]: kind };
    return (size) => metrics.batchSize.record(size, labels);
  }

  /** A store, or the store of a failure: `send` takes the context that is to be stored with it. */
  async store(
    name: "store" | "fail",
    taskId: string,
    send: (traceContext: string | null) => Promise<void>,
  ): Promise<void> {
    await this.#run(operations[name], taskId, async (span) =>
      send(span === undefined ? null : encodeTraceContext(span.spanContext())),
    );
  }

  async wait(taskId: string, stored$: Observable<StoredResult>): Promise<StoredResult> {
    const startedAt = performance.now();
    return this.#run(operations.wait, taskId, async (span) => {
      const stored = await firstValueFrom(stored$);
      this.#recordWakeup(stored, performance.now() - startedAt);
      span?.setAttribute(attributes.taskStatus, stored.error === null ? "fulfilled" : "rejected");
      // Afterwards, since who stores it is known only now; and a link and no parent, since many may wait for one result.
      const context = decodeTraceContext(stored.traceContext);
      if (context !== undefined) span?.addLink({ context });
      return stored;
    });
  }

  /**
   * Its age is by the clock of the database, at both ends, so that no two clocks meet; it lacks the way back of the read. A result that is older than the wait was there
   * already, and woke nobody.
   */
  #recordWakeup({ ageMs }: StoredResult, waitedMs: number): void {
    if (ageMs === undefined || ageMs > waitedMs) return;
    this.#metrics?.wakeupDuration.record(Math.max(ageMs, 0) / 1_000, this.#common);
  }

  async #run<T>({ name, type, kind }: Operation, taskId: string, work: (span?: Span) => Promise<T>): Promise<T> {
    const { context, trace, SpanKind, SpanStatusCode } = this.#api;
    const labels: Attributes = { ...this.#common, [attributes.operationName]: name, [attributes.operationType]: type };
    const span = this.#tracer?.startSpan(`${name} ${this.#destination}`, {
      kind: SpanKind[kind],
      attributes: { ...labels, [attributes.messageId]: taskId },
    });
    const startedAt = performance.now();
    try {
      if (span === undefined) return await work();
      return await context.with(trace.setSpan(context.active(), span), async () => work(span));
    } catch (error) {
      labels[attributes.errorType] = isError(error) ? error.name : "_OTHER";
      span?.setAttribute(attributes.errorType, labels[attributes.errorType] ?? "");
      span?.recordException(isError(error) ? error : String(error));
      span?.setStatus({ code: SpanStatusCode.ERROR, message: isError(error) ? error.message : String(error) });
      throw error;
    } finally {
      span?.end();
      this.#metrics?.operationDuration.record((performance.now() - startedAt) / 1_000, labels);
    }
  }
}
