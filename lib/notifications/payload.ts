import { createHash } from "node:crypto";
import type { StoredResult } from "../value/decoding";

/**
 * Names the channel on which a schema's results are announced; the triggers in `sql/` notify the same. A hash, since
 * Postgres takes at most 63 bytes for a channel (LISTEN truncates a longer one, `pg_notify` fails, and with it the
 * write), and in lower case, since LISTEN folds an unquoted name.
 */
export function channelOf(schema: string): string {
  return `kojin_${createHash("sha256").update(schema, "utf8").digest("hex").slice(0, 16)}`;
}

/**
 * Names of the ids in a payload. `ids`: tasks with a result. `chunks`: tasks that emitted chunks. `groups`: groups that
 * changed. `done`: groups that completed. `members`: groups whose members finished, if the writer does not know whether
 * the group completed.
 */
export type PayloadName = "ids" | "chunks" | "groups" | "done" | "members";
export const payloadNames: readonly PayloadName[] = ["ids", "chunks", "groups", "done", "members"];

/** Contents of a payload: the ids to read. It carries results only for stores that opt in to inline results. */
export interface Notification {
  readonly taskIds: readonly string[];
  readonly inline: readonly StoredResult[];
  /** Tasks that emitted chunks. */
  readonly chunkTaskIds: readonly string[];
  /** Groups that changed and are still open. */
  readonly groupIds: readonly string[];
  /** Groups that completed. Each is announced once. */
  readonly doneGroupIds: readonly string[];
  /** Groups that changed and may have completed. */
  readonly memberGroupIds: readonly string[];
  /** Too much has changed to list: re-read everything that is awaited. */
  readonly rescan: boolean;
}

/** Longest payload in bytes (PostgreSQL docs, NOTIFY: "must be shorter than 8000 bytes"). */
export const maxPayloadBytes = 7_999;
const targetPayloadBytes = 7_000;
/**
 * Longest start of a payload with a result. The time (16 digits until 2286), the transaction (up to 20 digits) and the
 * end follow it.
 */
const maxInlineBytes = 7_900;
const nothing: Notification = {
  taskIds: [],
  inline: [],
  chunkTaskIds: [],
  groupIds: [],
  doneGroupIds: [],
  memberGroupIds: [],
  rescan: false,
};

/** Asks for everything that is waited for to be read. */
export const rescanPayload = '{"v":1,"rescan":true}';

/** Decodes a payload, which any role that can connect may have sent. Returns `undefined` if it is not valid. */
export function decodePayload(payload: string): Notification | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null || !("v" in parsed) || parsed.v !== 1) return undefined;
  if ("rescan" in parsed && parsed.rescan === true) return { ...nothing, rescan: true };
  if ("ids" in parsed) return decodeResults(parsed.ids);
  if ("chunks" in parsed)
    return isTexts(parsed.chunks) ? { ...nothing, chunkTaskIds: possible(parsed.chunks) } : undefined;
  if ("groups" in parsed) return isTexts(parsed.groups) ? { ...nothing, groupIds: possible(parsed.groups) } : undefined;
  if ("done" in parsed) return isTexts(parsed.done) ? { ...nothing, doneGroupIds: possible(parsed.done) } : undefined;
  if ("members" in parsed)
    return isTexts(parsed.members) ? { ...nothing, memberGroupIds: possible(parsed.members) } : undefined;
  return undefined;
}

function decodeResults(entries: unknown): Notification | undefined {
  if (isTexts(entries)) return { ...nothing, taskIds: possible(entries) };
  if (!Array.isArray(entries)) return undefined;
  const taskIds: string[] = [];
  const inline: StoredResult[] = [];
  for (const entry of entries as unknown[]) {
    if (typeof entry === "string") taskIds.push(entry);
    else if (!isInlineEntry(entry)) return undefined;
    else {
      const [taskId, result, error, storedAt, storedXid] = entry;
      // If the time and transaction cannot be compared, the result must be read. A writer can set any time, such as the
      // year 2999.
      if (Number.isSafeInteger(storedAt) && Number.isSafeInteger(storedXid))
        inline.push({ taskId, result, error, storedAt: storedAt as number, storedXid: storedXid as number });
      else taskIds.push(taskId);
    }
  }
  return { ...nothing, taskIds: possible(taskIds), inline: inline.filter(({ taskId }) => isPossible(taskId)) };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

/**
 * Drops ids that no database can hold, since they would fail the read of all others. Ids of other writers may be longer
 * than ours.
 */
const possible = (ids: readonly string[]): readonly string[] => ids.filter(isPossible);
const isPossible = (id: string): boolean => !id.includes("\0") && id.isWellFormed();

function isInlineEntry(entry: unknown): entry is [string, string, string | null, number | null, number | null] {
  if (!Array.isArray(entry) || entry.length !== 5) return false;
  const [taskId, result, error, storedAt, storedXid] = entry as unknown[];
  const isText =
    typeof taskId === "string" && typeof result === "string" && (error === null || typeof error === "string");
  return isText && [storedAt, storedXid].every((each) => each === null || typeof each === "number");
}

/** Encodes ids into as few payloads as fit, as the triggers would send them. */
export function encodePayloads(name: PayloadName, ids: Iterable<string>): string[] {
  // Nearly always all fit into one payload, and one `stringify` is faster than many.
  const all = [...ids];
  const list = JSON.stringify(all);
  if (Buffer.byteLength(list) <= targetPayloadBytes) return list === "[]" ? [] : [payloadOf(name, list)];
  const payloads: string[] = [];
  let entries: string[] = [];
  let bytes = 0;
  const flush = (): void => {
    if (entries.length > 0) payloads.push(payloadOf(name, `[${entries.join(",")}]`));
    entries = [];
    bytes = 0;
  };
  for (const id of all) {
    const entry = JSON.stringify(id);
    const entryBytes = Buffer.byteLength(entry) + 1;
    if (bytes + entryBytes > targetPayloadBytes) flush();
    entries.push(entry);
    bytes += entryBytes;
  }
  flush();
  return payloads;
}

const payloadOf = (name: PayloadName, list: string): string => `{"v":1,"${name}":${list}}`;

/**
 * Encodes a payload with a result, in two parts. The time and the transaction go between them, since only the storing
 * statement knows them. Returns `undefined` if the result exceeds `maxBytes` or does not fit.
 */
export function encodeInline(
  { taskId, result, error }: Pick<StoredResult, "taskId" | "result" | "error">,
  maxBytes: number,
): [start: string, end: string] | undefined {
  if (result.length + (error?.length ?? 0) > maxBytes) return undefined;
  if (Buffer.byteLength(result) + Buffer.byteLength(error ?? "") > maxBytes) return undefined;
  const start = `{"v":1,"ids":[${JSON.stringify([taskId, result, error]).slice(0, -1)},`;
  return Buffer.byteLength(start) <= maxInlineBytes ? [start, "]]}"] : undefined;
}
