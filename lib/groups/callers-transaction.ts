import { beginText } from "../database/database";
import { sqlStateOf, sqlStates } from "../database/sql-states";
import type { SqlClient } from "../result-backend";

/** A name that is nobody else's. */
const savepoint = "kojin_groups";

/**
 * Runs statements on a client of the caller's as one: in the transaction that it is in, or, where it is in none, in one of their own. Gives undefined, and has done nothing,
 * if `holdText` names a table that is not there; the caller's transaction goes on then.
 */
export async function inCallersTransaction<T>(
  client: SqlClient,
  holdText: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const run = async (text: string): Promise<unknown> => client.query(text, []);
  if (!(await isInTransaction(run))) return inOwnTransaction(run, holdText, work);
  if (!(await isThere(run, holdText))) {
    await run(`rollback to savepoint ${savepoint}`);
    await run(`release savepoint ${savepoint}`);
    return undefined;
  }
  // Before the work: a part of a transaction that writes is dear to the server when there are many (PostgreSQL docs, subtransactions). The lock outlives it.
  await run(`release savepoint ${savepoint}`);
  return work();
}

type Run = (text: string) => Promise<unknown>;

/** The one statement that fails outside of a transaction, and changes nothing inside of one. */
async function isInTransaction(run: Run): Promise<boolean> {
  try {
    await run(`savepoint ${savepoint}`);
    return true;
  } catch (error) {
    if (sqlStateOf(error) === sqlStates.noActiveTransaction) return false;
    throw error;
  }
}

async function inOwnTransaction<T>(run: Run, holdText: string, work: () => Promise<T>): Promise<T | undefined> {
  await run(beginText);
  try {
    const outcome = (await isThere(run, holdText)) ? await work() : undefined;
    // Which rolls back if the table was not there.
    await run("commit");
    return outcome;
  } catch (error) {
    await run("rollback").catch(() => undefined);
    throw error;
  }
}

async function isThere(run: Run, text: string): Promise<boolean> {
  try {
    await run(text);
    return true;
  } catch (error) {
    if (sqlStateOf(error) === sqlStates.undefinedTable) return false;
    throw error;
  }
}
