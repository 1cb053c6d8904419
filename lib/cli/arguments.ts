import { InvalidArgumentError } from "commander";
import ms from "ms";
import { checkSchemaName } from "../options";
import { checkDurationMs, checkId, checkInteger } from "../value/arguments";

/** An id of a task or a group. */
export function parseId(text: string): string {
  return checked(() => {
    checkId(text, "taskId");
    return text;
  });
}

export function parseSchema(text: string): string {
  return checked(() => {
    checkSchemaName(text);
    return text;
  });
}

/** Such as `30s`, `1.5h`, `250` (milliseconds) or `never`; in milliseconds. */
export function parseDuration(text: string): number {
  if (text === "never") return Infinity;
  // Its type names the texts it knows; it gives undefined for any other, and throws for one that is empty or very long.
  const durationMs =
    /^[\d.]/.test(text) && text.length <= 40 ? (ms(text as ms.StringValue) as number | undefined) : undefined;
  if (durationMs === undefined || !Number.isFinite(durationMs))
    throw new InvalidArgumentError("Expected a duration such as 500ms, 30s, 5m, 2h, 7d, or never.");
  return durationMs;
}

/** A duration that has an end. */
export function parseFiniteDuration(text: string): number {
  return checked(() => {
    const durationMs = parseDuration(text);
    checkDurationMs(durationMs, "duration");
    return durationMs;
  });
}

/** How long something is kept: more than nothing. */
export function parseTtl(text: string): number {
  const durationMs = parseDuration(text);
  if (durationMs <= 0) throw new InvalidArgumentError("Expected a duration above 0.");
  return durationMs;
}

export function parseBatch(text: string): number {
  return checked(() => {
    const rows = Number(text);
    checkInteger(rows, "rows", 1, 100_000);
    return rows;
  });
}

export function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError("Expected a port, 0 to 65535.");
  return port;
}

export function parseShards(text: string): number {
  const shards = Number(text);
  if (!/^\d+$/.test(text) || shards < 1 || shards > 4_096)
    throw new InvalidArgumentError("Expected a whole number from 1 to 4096.");
  return shards;
}

/** What the library would reject is a mistake in the command line. */
function checked<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof InvalidArgumentError) throw error;
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}
