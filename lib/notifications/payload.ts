import type { StoredResult } from "../value/stored-result";

/** What a payload can name: tasks with a result; groups that changed, that got done, or (where the writer cannot tell which of the two) whose members finished. */
export type PayloadName = "ids" | "groups" | "done" | "members";
export const payloadNames: readonly PayloadName[] = ["ids", "groups", "done", "members"];

/** What a notification suggests. It never says what a result is (but for the inline entries that one has to opt in to), only where to look. */
export interface Notification {
  readonly taskIds: readonly string[];
  readonly inline: readonly StoredResult[];
  /** Groups that changed, and are still open. */
  readonly groupIds: readonly string[];
  /** Groups that got done: announced once for each. */
  readonly doneGroupIds: readonly string[];
  /** Groups that changed, and may be done. */
  readonly memberGroupIds: readonly string[];
  /** Too much changed to name it: look at everything that is waited for. */
  readonly rescan: boolean;
}

/** Longest payload in bytes (PostgreSQL docs, NOTIFY: "must be shorter than 8000 bytes"). */
export const maxPayloadBytes = 7_999;
const targetPayloadBytes = 7_000;
/** Of a payload with a result, before its time, which has 16 digits until 2286, its transaction, which has up to 20, and its end. */
const maxInlineBytes = 7_900;
const nothing: Notification = {
  taskIds: [],
  inline: [],
  groupIds: [],
  doneGroupIds: [],
  memberGroupIds: [],
  rescan: false,
};

/** The payload that says: look at everything that is waited for. */
export const rescanPayload = '{"v":1,"rescan":true}';

/** Reads a payload, which any role that can connect may have sent: `undefined` for what is not ours. */
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
      // Without a time and a transaction that can be compared it has to be read, as after any other notification: a writer can set any time, such as one of the year 2999.
      if (Number.isSafeInteger(storedAt) && Number.isSafeInteger(storedXid))
        inline.push({ taskId, result, error, storedAt: storedAt as number, storedXid: storedXid as number });
      else taskIds.push(taskId);
    }
  }
  return { ...nothing, taskIds: possible(taskIds), inline: inline.filter(({ taskId }) => isPossible(taskId)) };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === "string");

/** Without what cannot be an id in any database, and would fail the read of all the others. Foreign writers' ids may be longer than ours. */
const possible = (ids: readonly string[]): readonly string[] => ids.filter(isPossible);
const isPossible = (id: string): boolean => !id.includes("\0") && id.isWellFormed();

function isInlineEntry(entry: unknown): entry is [string, string, string | null, number | null, number | null] {
  if (!Array.isArray(entry) || entry.length !== 5) return false;
  const [taskId, result, error, storedAt, storedXid] = entry as unknown[];
  const isText =
    typeof taskId === "string" && typeof result === "string" && (error === null || typeof error === "string");
  return isText && [storedAt, storedXid].every((each) => each === null || typeof each === "number");
}

/** The payloads that announce ids under a name, as the triggers would send them: as few as fit. */
export function encodePayloads(name: PayloadName, ids: Iterable<string>): string[] {
  // Nearly always all fit into one, which is known sooner for all of them together.
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
 * The payload that carries a result of up to so many bytes, in two parts: between them come the time at which it is stored and the transaction, which only the statement that stores it knows.
 * `undefined` for one that is larger, or does not fit.
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
