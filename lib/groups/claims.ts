import { randomUUID } from "node:crypto";
import type { Database } from "../database/database";
import type { ResolvedOptions } from "../options";
import type { ClaimOptions, GroupClaim, SqlClient } from "../result-backend";
import { type FencedWriteParts, fencedWrite } from "../results/attempts";
import { checkDurationMs } from "../value/arguments";
import type { GroupStatements } from "./group-statements";

export interface ClaimParts extends FencedWriteParts {
  readonly database: Database;
  readonly options: ResolvedOptions;
  readonly statements: GroupStatements;
}

/** Gives each done group to exactly one caller. */
export class Claims {
  readonly #parts: ClaimParts;

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  async claim(groupId: string, { client, leaseMs }: ClaimOptions): Promise<GroupClaim | undefined> {
    if (leaseMs !== undefined) checkDurationMs(leaseMs, "leaseMs", { min: 1 });
    const token = randomUUID();
    const { statements } = this.#parts;
    const rows = await this.#write("claim a group", statements.claim, [groupId, token, leaseMs ?? null], client);
    if (rows.length === 0) return undefined;
    // Not with the caller's client: its transaction is over by the time the work is done.
    const ack = async (): Promise<boolean> => {
      if (leaseMs === undefined) return true;
      return (await this.#write("acknowledge a claim", statements.acknowledge, [groupId, token])).length > 0;
    };
    return { groupId, ack };
  }

  /** Runs a statement whose last parameter is the time from which it may not write. */
  async #write(purpose: string, text: string, values: unknown[], client?: SqlClient): Promise<unknown[]> {
    const { database, options } = this.#parts;
    if (client !== undefined) {
      try {
        // The caller decides how long its transaction may write.
        return (await client.query(text, [...values, Infinity])).rows;
      } catch (error) {
        throw database.wrap(error, purpose);
      }
    }
    return fencedWrite(this.#parts, options.retryTimeoutMs, async ({ timeoutMs, giveUpAt }) =>
      database.query({ purpose, text, values: [...values, giveUpAt] }, timeoutMs),
    );
  }
}
