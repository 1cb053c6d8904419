import { createHash, randomBytes } from "node:crypto";

/**
 * The channel on which a schema's results are announced; the trigger functions in `sql/` compute the same. A hash, since Postgres takes at most 63 bytes for a
 * channel (LISTEN cuts a longer one off, `pg_notify` fails, and with it the write), and lower case, since LISTEN folds what is not quoted.
 */
export function channelOf(schema: string): string {
  return `kojin_${createHash("sha256").update(schema, "utf8").digest("hex").slice(0, 16)}`;
}

/** A channel of this process alone, for its heartbeats. */
export function heartbeatChannel(): string {
  return `kojin_hb_${randomBytes(8).toString("hex")}`;
}
