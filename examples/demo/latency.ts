import { Client } from "pg";
import type { EndedWait } from "./waiter";

/** The time that results took from the database to their waiter. */
export interface Latencies {
  /** Counted from the commit, or, on a server without commit timestamps, from the write just before it. */
  readonly from: "commit" | "write";
  /** One value for each result that was stored while its wait was open, in ascending order. */
  readonly sortedMs: readonly number[];
}

/**
 * Compares the time of each commit with the end of its wait, by the clocks of server and waiter, which are the same on
 * one machine. Results stored before their wait was opened are left out, since they woke no waiter.
 */
export async function readLatencies(url: string, schema: string, waits: readonly EndedWait[]): Promise<Latencies> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const from = (await keepsCommitTimes(client)) ? "commit" : "write";
    const storedAtMs = await readStoredTimes(client, schema, from);
    const latenciesMs = waits
      .filter(({ taskId, openedAtMs }) => (storedAtMs.get(taskId) ?? 0) > openedAtMs)
      .map(({ taskId, endedAtMs }) => endedAtMs - (storedAtMs.get(taskId) ?? 0));
    return { from, sortedMs: latenciesMs.sort((a, b) => a - b) };
  } finally {
    await client.end();
  }
}

/** The smallest value that at least the given `share` of all values does not exceed; undefined for an empty list. */
export function percentile(sortedMs: readonly number[], share: number): number | undefined {
  return sortedMs[Math.max(0, Math.ceil(share * sortedMs.length) - 1)];
}

async function keepsCommitTimes(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ setting: string }>(
    "select current_setting('track_commit_timestamp') as setting",
  );
  return rows[0]?.setting === "on";
}

async function readStoredTimes(client: Client, schema: string, from: Latencies["from"]): Promise<Map<string, number>> {
  const time = from === "commit" ? "pg_xact_commit_timestamp(xmin)" : "stored_at";
  const { rows } = await client.query<{ taskId: string; storedAtMs: number }>(
    `select task_id as "taskId", (extract(epoch from ${time}) * 1000)::float8 as "storedAtMs"
     from ${client.escapeIdentifier(schema)}.kojin_results`,
  );
  return new Map(rows.map(({ taskId, storedAtMs }) => [taskId, storedAtMs]));
}
