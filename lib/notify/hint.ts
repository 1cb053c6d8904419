/** What a result looks like as it comes from the database, its JSON still text: each of several waiters parses a copy of its own. */
export interface StoredResult {
  readonly taskId: string;
  /** JSON text. */
  readonly result: string;
  /** JSON text of the failure; null for a success. */
  readonly error: string | null;
  /** Database time, in microseconds since 1970; exact, being below 2^53 until the year 2255. */
  readonly storedAt: number;
}

/** What a notification suggests. It never says what a result is (but for the inline entries that one has to opt in to), only where to look. */
export interface Hint {
  readonly taskIds: readonly string[];
  readonly inline: readonly StoredResult[];
  /** Too much changed to name it: look at everything that is waited for. */
  readonly rescan: boolean;
}

/** Longest payload in bytes (PostgreSQL docs, NOTIFY: "must be shorter than 8000 bytes"). */
export const maxPayloadBytes = 7_999;
const targetPayloadBytes = 7_000;

/** Reads a payload, which any role that can connect may have sent: `undefined` for what is not ours. */
export function decodeHint(payload: string): Hint | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null || !("v" in parsed) || parsed.v !== 1) return undefined;
  if ("rescan" in parsed && parsed.rescan === true) return { taskIds: [], inline: [], rescan: true };
  if (!("ids" in parsed) || !Array.isArray(parsed.ids)) return undefined;
  const taskIds: string[] = [];
  const inline: StoredResult[] = [];
  for (const entry of parsed.ids as unknown[]) {
    if (typeof entry === "string") taskIds.push(entry);
    else if (isInlineEntry(entry))
      inline.push({ taskId: entry[0], result: entry[1], error: entry[2], storedAt: entry[3] });
    else return undefined;
  }
  return { taskIds, inline, rescan: false };
}

function isInlineEntry(entry: unknown): entry is [string, string, string | null, number] {
  if (!Array.isArray(entry) || entry.length !== 4) return false;
  const [taskId, result, error, storedAt] = entry as unknown[];
  const isText =
    typeof taskId === "string" && typeof result === "string" && (error === null || typeof error === "string");
  return isText && typeof storedAt === "number";
}

/** The payloads that announce `taskIds`, as the trigger would send them: as few as fit. */
export function encodeHints(taskIds: Iterable<string>): string[] {
  const payloads: string[] = [];
  let entries: string[] = [];
  let bytes = 0;
  const flush = (): void => {
    if (entries.length > 0) payloads.push(`{"v":1,"ids":[${entries.join(",")}]}`);
    entries = [];
    bytes = 0;
  };
  for (const taskId of taskIds) {
    const entry = JSON.stringify(taskId);
    const entryBytes = Buffer.byteLength(entry) + 1;
    if (bytes + entryBytes > targetPayloadBytes) flush();
    entries.push(entry);
    bytes += entryBytes;
  }
  flush();
  return payloads;
}
