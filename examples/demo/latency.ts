import { Client } from "pg";
import type { EndedWait } from "./waiter";

/** How long results took from the database to whoever waited for them. */
export interface Latencies {
  /** From its commit, or, where the server does not keep the times of commits, from its write a moment before. */
  readonly from: "commit" | "write";
  /** One for each result that was stored while somebody waited for it, in ascending order. */
  readonly sortedMs: readonly number[];
}

/**
 * Compares when each result was committed with when its wait ended, by the clocks of server and waiter, which are the same if they run on the same machine.
 * A result that was there before its wait was opened says nothing about waking, and is left out.
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

/** The value that the part `share` of all is not above; undefined if there are none. */
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
