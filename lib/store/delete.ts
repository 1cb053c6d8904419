import type { Observable } from "rxjs";
import type { Database } from "../database/database";
import { retryUntilClosed } from "../database/retry";
import type { ResolvedOptions } from "../options";
import type { SqlClient } from "../result-backend";
import type { ResultStatements } from "./statements";

export interface DeleteParts {
  readonly database: Database;
  readonly statements: ResultStatements;
  readonly options: ResolvedOptions;
  readonly closed$: Observable<never>;
}

/** Deletes one result; tells whether it was there. Retried if transient: asked twice, a deletion whose answer was lost says `false`. */
export async function deleteResult(parts: DeleteParts, taskId: string, client?: SqlClient): Promise<boolean> {
  const { database, statements, options, closed$ } = parts;
  const query = { purpose: "delete a result", text: statements.delete, values: [taskId] };
  if (client !== undefined) {
    try {
      return (await client.query(query.text, [...query.values])).rows.length > 0;
    } catch (error) {
      throw database.wrap(error, query.purpose);
    }
  }
  const dueAt = performance.now() + options.retryTimeoutMs;
  const rows = await retryUntilClosed((attemptMs) => database.query(query, attemptMs), { dueAt, closed$ });
  return rows.length > 0;
}
