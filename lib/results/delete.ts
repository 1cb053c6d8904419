import type { Database } from "../database/database";
import type { ResolvedOptions } from "../options";
import type { SqlClient } from "../result-backend";
import { type FencedWriteParts, fencedWrite } from "./fenced-write";
import type { ResultStatements } from "./statements";

export interface DeleteParts extends FencedWriteParts {
  readonly database: Database;
  readonly statements: ResultStatements;
  readonly options: ResolvedOptions;
}

/** Deletes one result; tells whether it was there. Retried if transient: asked twice, a deletion whose answer was lost says `false`. */
export async function deleteResult(parts: DeleteParts, taskId: string, client?: SqlClient): Promise<boolean> {
  const { database, statements, options } = parts;
  const query = { purpose: "delete a result", text: statements.delete };
  if (client !== undefined) {
    try {
      // The caller decides until when its transaction may write.
      return (await client.query(query.text, [taskId, Infinity, null])).rows.length > 0;
    } catch (error) {
      throw database.wrap(error, query.purpose);
    }
  }
  const rows = await fencedWrite(parts, options.retryTimeoutMs, async ({ timeoutMs, giveUpAt, guardedFrom }) => {
    const whenSent = () => ({ ...query, values: [taskId, giveUpAt, guardedFrom()] });
    return database.query({ ...query, values: [], whenSent }, timeoutMs);
  });
  return rows.length > 0;
}
