import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";

const rowsPerPage = 10_000;
const limits = { timeoutMs: 300_000, beginTimeoutMs: 5_000, lockTimeoutMs: 5_000 };

/**
 * Clears the numbers of transactions that this cluster has not reached: rows that were restored from another cluster have them, and streams would show such a row as new once the
 * cluster gets there. In pages, each in a transaction of its own; one look at an index where there are none.
 */
export async function forgetForeignTransactions(database: Database, schema: string): Promise<void> {
  const name = escapeIdentifier(schema);
  await clear(database, `${name}.kojin_results`, "task_id", "stored_xid");
  await clear(database, `${name}.kojin_group_state`, "group_id", "done_xid");
}

async function clear(database: Database, table: string, key: string, xid: string): Promise<void> {
  const isForeign = `${xid} operator(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())`;
  const look = {
    purpose: "look for numbers of another cluster",
    text: `select from ${table} where ${isForeign} limit 1`,
    values: [],
  };
  // A role that may only read can call migrate() where there is nothing to do.
  if ((await database.query(look, limits.timeoutMs)).length === 0) return;
  const text = `
    update ${table} set ${xid} = null
    where ${key} operator(pg_catalog.=) any (array(
      select ${key} from ${table}
      where ${isForeign}
      limit ${rowsPerPage}
      for update
    ))`;
  let cleared: number;
  do {
    cleared = await database.transaction("clear numbers of transactions of another cluster", limits, async (client) => {
      // Nothing has been stored anew, so there is nothing to announce.
      await client.query("set local kojin.notify = 'off'", []);
      return (await client.query(text, [])).rowCount ?? 0;
    });
  } while (cleared === rowsPerPage);
}
