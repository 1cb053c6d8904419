import type { SpanContext } from "@opentelemetry/api";

// Version, trace id, span id and flags (W3C Trace Context, "traceparent header"). Ids of nothing but zeros are invalid there.
const form = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/**
 * A span as the column `trace_context` holds it: always in the form of W3C, whatever propagator this process uses, since the processes that read it may use another.
 * `null` for a span without an identity, as there is where no SDK is set up.
 */
export function encodeTraceContext({ traceId, spanId, traceFlags }: SpanContext): string | null {
  const text = `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
  return form.test(text) ? text : null;
}

/** The span that the column names; `undefined` for anything else, since any writer may fill it. */
export function decodeTraceContext(text: string | null | undefined): SpanContext | undefined {
  const [, traceId, spanId, flags] = form.exec(text ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
}
