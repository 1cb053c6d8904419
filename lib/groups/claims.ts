import { randomUUID } from "node:crypto";
import type { Database } from "../database/database";
import { retryUntilAborted } from "../database/retry";
import type { ResolvedOptions } from "../options";
import type { ClaimOptions, GroupClaim, GroupProgress, SqlClient } from "../result-backend";
import { type FencedWriteParts, fencedWrite } from "../results/fenced-write";
import { checkDurationMs } from "../value/arguments";
import type { GroupStatements } from "./group-statements";

export interface ClaimParts extends FencedWriteParts {
  readonly database: Database;
  readonly options: ResolvedOptions;
  readonly statements: GroupStatements;
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
    const { statements } = this.#parts;
    const rows = await this.#write("claim a group", statements.claim, [groupId, token], [leaseMs ?? null], client);
    if (rows.length === 0) return undefined;
    // By a connection of our own also where the claim was made by the caller's: that transaction is over when the work is done.
    const ack = async (): Promise<boolean> => {
      if (leaseMs === undefined) return true;
      return (await this.#write("acknowledge a claim", statements.acknowledge, [groupId, token])).length > 0;
    };
    return { groupId, ack };
  }

  async unclaimed(limit: number): Promise<GroupProgress[]> {
    const rows = await this.#read("read unclaimed groups", this.#parts.statements.unclaimed, [limit]);
    return rows.map(
      ([groupId, total, completed, failed]) => ({ groupId, total, completed, failed, done: true }) as GroupProgress,
    );
  }

  /** Runs a statement with the time from which it may not write between its parameters. */
  async #write(
    purpose: string,
    text: string,
    first: unknown[],
    rest: unknown[] = [],
    client?: SqlClient,
  ): Promise<unknown[][]> {
    const { database, options } = this.#parts;
    if (client !== undefined) {
      try {
        // The caller decides until when its transaction may write.
        const { rows } = await client.query(text, [...first, Infinity, ...rest]);
        return rows.map((row) => Object.values(row as Record<string, unknown>));
      } catch (error) {
        throw database.wrap(error, purpose);
      }
    }
    return fencedWrite(this.#parts, options.retryTimeoutMs, async ({ timeoutMs, giveUpAt }) =>
      database.query({ purpose, text, values: [...first, giveUpAt, ...rest] }, timeoutMs),
    );
  }

  async #read(purpose: string, text: string, values: unknown[]): Promise<unknown[][]> {
    const { database, options, closed } = this.#parts;
    const dueAt = performance.now() + options.retryTimeoutMs;
    const read = async (attemptMs: number): Promise<unknown[][]> =>
      database.query({ purpose, text, values }, attemptMs);
    return retryUntilAborted(read, { dueAt, signals: [closed] });
  }
}
