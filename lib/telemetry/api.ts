import { createRequire } from "node:module";
import { join } from "node:path";
import type * as OpenTelemetry from "@opentelemetry/api";

export type OpenTelemetryApi = typeof OpenTelemetry;

/** `@opentelemetry/api`, or `undefined` if it is not installed. As an optional peer it belongs to the user's project, and this package may be linked. */
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
