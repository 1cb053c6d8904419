import { randomUUID } from "node:crypto";
import type { Observable } from "rxjs";
import type { Database } from "../database/database";
import { retryUntilClosed } from "../database/retry";
import type { ResolvedOptions } from "../options";
import type { ClaimOptions, GroupClaim, GroupProgress, SqlClient } from "../result-backend";
import { checkDurationMs } from "../value/arguments";
import type { GroupStatements } from "./group-statements";

export interface ClaimParts {
  readonly database: Database;
  readonly options: ResolvedOptions;
  readonly statements: GroupStatements;
  readonly closed$: Observable<never>;
}

/** Gives groups that are done to exactly one caller each. */
export class Claims {
  readonly #parts: ClaimParts;

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  async claim(groupId: string, { client, leaseMs }: ClaimOptions): Promise<GroupClaim | undefined> {
    if (leaseMs !== undefined) checkDurationMs(leaseMs, "leaseMs", { min: 1 });
    const token = randomUUID();
    const values = [groupId, token, leaseMs ?? null];
    const rows = await this.#run("claim a group", this.#parts.statements.claim, values, client);
    if (rows.length === 0) return undefined;
    // By a connection of our own also where the claim was made by the caller's: that transaction is over when the work is done.
    const ack = async (): Promise<boolean> => {
      if (leaseMs === undefined) return true;
      return (await this.#run("acknowledge a claim", this.#parts.statements.acknowledge, [groupId, token])).length > 0;
    };
    return { groupId, ack };
  }

  async unclaimed(limit: number): Promise<GroupProgress[]> {
    const rows = await this.#run("read unclaimed groups", this.#parts.statements.unclaimed, [limit]);
    return rows.map(
      ([groupId, total, completed, failed]) => ({ groupId, total, completed, failed, done: true }) as GroupProgress,
    );
  }

  async #run(purpose: string, text: string, values: unknown[], client?: SqlClient): Promise<unknown[][]> {
    const { database, options, closed$ } = this.#parts;
    if (client !== undefined) {
      try {
        return (await client.query(text, values)).rows.map((row) => Object.values(row as Record<string, unknown>));
      } catch (error) {
        throw database.wrap(error, purpose);
      }
    }
    const dueAt = performance.now() + options.retryTimeoutMs;
    return retryUntilClosed(async (attemptMs) => database.query({ purpose, text, values }, attemptMs), {
      dueAt,
      closed$,
    });
  }
}
