import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type * as OpenTelemetry from "@opentelemetry/api";

export type OpenTelemetryApi = typeof OpenTelemetry;

/**
 * Loads `@opentelemetry/api`, or returns `undefined` if it is not installed. The optional peer dependency belongs to
 * the user's project, which is the working directory if this package is linked.
 */
export function loadApi(folders: readonly string[] = [__dirname, process.cwd()]): OpenTelemetryApi | undefined {
  for (const folder of folders) {
    try {
      return createRequire(join(folder, "resolve.js"))("@opentelemetry/api") as OpenTelemetryApi;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  return undefined;
}

/** Name and version of this package, which created the spans and metrics. */
export const scope = {
  name: "kojin-postgres",
  get version(): string {
    const manifest = readFileSync(join(__dirname, "..", "..", "package.json"), "utf8");
    return (JSON.parse(manifest) as { version: string }).version;
  },
};

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
