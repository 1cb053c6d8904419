import type * as OpenTelemetry from "@opentelemetry/api";
import { version } from "../package-files";

export type OpenTelemetryApi = typeof OpenTelemetry;

/** Name and version of this package, which created the spans and metrics. */
export const scope = { name: "kojin-postgres", version };

/** Attributes of the semantic conventions for messaging (1.45); names that these do not have begin with `kojin.`. */
export const attributes = {
  messageId: "messaging.message.id",
  operationName: "messaging.operation.name",
  operationType: "messaging.operation.type",
  errorType: "error.type",
  taskStatus: "kojin.task.status",
  waitKind: "kojin.wait.kind",
  wakeCause: "kojin.wake.cause",
  batchKind: "kojin.batch.kind",
  of: (destination: string): OpenTelemetry.Attributes => ({
    "messaging.system": "kojin_postgres",
    "messaging.destination.name": destination,
  }),
};
