import { DatabaseError } from "../errors";
import type { Database, Query } from "./database";
import { sqlStates } from "./sql-states";

/** How full the cluster's notification queue is, 0 to 1. Asking moves the end of the queue up to where every session has read. */
export const notifyQueueUsageText = "select pg_catalog.pg_notification_queue_usage()";

/**
 * Runs a statement that does nothing but notify. A queue that has been full stays so although the session that held it up is gone: its end is moved by a notification that
 * fills a page, for which there is no room, or by asking how full it is (measured on 18.4). So that is asked, and the statement sent once more.
 */
export async function sendNotification(database: Database, query: Query, timeoutMs: number): Promise<void> {
  const dueAt = performance.now() + timeoutMs;
  const send = async (each: Query): Promise<unknown> => database.query(each, Math.max(1, dueAt - performance.now()));
  try {
    await send(query);
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.sqlState !== sqlStates.programLimitExceeded) throw error;
    await send({ purpose: query.purpose, text: notifyQueueUsageText, values: [] });
    await send(query);
  }
}
