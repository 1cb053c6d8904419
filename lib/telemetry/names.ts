import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Attributes } from "@opentelemetry/api";

/** The instrumentation scope of all spans and metrics. */
export const scope = {
  name: "kojin-postgres",
  get version(): string {
    const text = readFileSync(join(__dirname, "..", "..", "package.json"), "utf8");
    return (JSON.parse(text) as { version: string }).version;
  },
};

/** Names of attributes: those of the semantic conventions for messaging (1.45), and under `kojin.` what these have no name for. */
export const attributes = {
  messageId: "messaging.message.id",
  operationName: "messaging.operation.name",
  operationType: "messaging.operation.type",
  errorType: "error.type",
  taskStatus: "kojin.task.status",
  waitKind: "kojin.wait.kind",
  wakeCause: "kojin.wake.cause",
  batchKind: "kojin.batch.kind",
  of: (destination: string): Attributes => ({
    "messaging.system": "kojin_postgres",
    "messaging.destination.name": destination,
  }),
};
